pub mod conditions;
pub mod home;
pub mod permit;
use std::sync::Arc;

use crate::controller::context::Context;
use crate::controller::error::Error;
use kube::runtime::controller::Action;
use safetytwin_crds::DigitalTwin;
pub async fn reconcile(_twin: Arc<DigitalTwin>, _ctx: Arc<Context>) -> Result<Action, Error> {
    Ok(Action::await_change())
}
