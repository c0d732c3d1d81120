//! [`TwinVm`] of the fake: which effects each call has, and in which order.

use async_trait::async_trait;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TakenMode;

use super::super::names::{check_point_name, check_vm_name};
use super::super::{PointRequest, PointTaken, TwinVm, VmError, VmFacts, VmOrigin, chain};
use super::FakeVm;
use super::state::Domain;

#[async_trait]
impl TwinVm for FakeVm {
    async fn ensure(&self) -> Result<VmFacts, VmError> {
        check_vm_name(&self.spec.name)?;
        let mut state = self.reachable()?;
        if self.spec.origin == VmOrigin::Adopt {
            self.adopt(&mut state)?;
        } else {
            self.make_missing_parts(&mut state)?;
        }
        if state.domain.as_ref().is_some_and(|domain| !domain.running) {
            self.effect(&mut state, "start", |state| {
                state.starts += 1;
                if let Some(domain) = &mut state.domain {
                    domain.running = true;
                }
                self.disk.boot();
            })?;
        }
        self.facts(&state)
            .ok_or_else(|| self.missing("domain", &self.spec.name))
    }

    async fn observe(&self) -> Result<Option<VmFacts>, VmError> {
        let state = self.reachable()?;
        Ok(self.facts(&state))
    }

    async fn take_point(&self, request: &PointRequest) -> Result<PointTaken, VmError> {
        check_point_name(&request.name)?;
        let mut state = self.reachable()?;
        let domain = state
            .domain
            .as_ref()
            .ok_or_else(|| self.missing("domain", &self.spec.name))?;
        let running = domain.running;
        let found = domain.points.iter().find(|kept| kept.point.name == request.name);
        match found.map(|kept| (kept.whole, kept.point.mode)) {
            Some((true, mode)) => {
                return Ok(PointTaken {
                    mode,
                    milliseconds: 0,
                    size_bytes: 1 << 20,
                    existed: true,
                });
            }
            Some((false, _)) => {
                self.effect(&mut state, "remove-half-point", |state| {
                    if let Some(domain) = &mut state.domain {
                        domain.forget_point(&request.name);
                    }
                })?;
            }
            None => {}
        }
        let mode = if running && request.mode != PointMode::Disk {
            TakenMode::Full
        } else {
            TakenMode::Disk
        };
        self.effect(&mut state, "take-point", |state| {
            if let Some(domain) = &mut state.domain {
                domain.keep_present(&request.name, mode, self.disk.as_ref());
            }
        })?;
        Ok(PointTaken {
            mode,
            milliseconds: 1,
            size_bytes: 1 << 20,
            existed: false,
        })
    }

    async fn revert(&self, point: &str, epoch: i64) -> Result<(), VmError> {
        check_point_name(point)?;
        let mut state = self.reachable()?;
        let domain = state.domain.as_ref();
        let kept = domain.and_then(|domain| domain.points.iter().find(|kept| kept.point.name == point));
        match kept.map(|kept| kept.whole) {
            None => return Err(self.missing("point", point)),
            Some(false) => {
                return Err(VmError::NotReverted {
                    point: point.to_owned(),
                    message: "half of it is missing".into(),
                });
            }
            Some(true) => {}
        }
        self.effect(&mut state, "revert", |state| {
            state.starts += 1;
            if let Some(domain) = &mut state.domain {
                domain.bring_back(point, self.disk.as_ref());
                domain.running = false;
            }
        })?;
        let uid = self.spec.twin_uid.clone();
        self.effect(&mut state, "claim", |state| {
            if let Some(domain) = &mut state.domain {
                domain.epoch = epoch;
                domain.owner = uid;
            }
        })?;
        self.effect(&mut state, "resume", |state| {
            if let Some(domain) = &mut state.domain {
                domain.running = true;
            }
        })
    }

    async fn set_clock(&self) -> Result<bool, VmError> {
        let mut state = self.reachable()?;
        if state.no_agent || !state.domain.as_ref().is_some_and(|domain| domain.running) {
            return Ok(false);
        }
        self.effect(&mut state, "set-clock", |_| true)
    }

    async fn delete_point(&self, name: &str) -> Result<(), VmError> {
        check_point_name(name)?;
        let mut state = self.reachable()?;
        let points = state.domain.as_ref().map(Domain::points).unwrap_or_default();
        if !points.iter().any(|point| point.name == name) {
            return Ok(());
        }
        chain::check_deletable(&points, name)?;
        self.effect(&mut state, "delete-point", |state| {
            if let Some(domain) = &mut state.domain {
                domain.forget_point(name);
            }
        })
    }

    async fn claim(&self, epoch: i64) -> Result<(), VmError> {
        let mut state = self.reachable()?;
        if state.domain.is_none() {
            return Err(self.missing("domain", &self.spec.name));
        }
        let uid = self.spec.twin_uid.clone();
        self.effect(&mut state, "claim", |state| {
            if let Some(domain) = &mut state.domain {
                domain.epoch = epoch;
                domain.owner = uid;
            }
        })
    }

    async fn delete(&self) -> Result<(), VmError> {
        let mut state = self.reachable()?;
        if self.spec.origin == VmOrigin::Adopt {
            if state
                .domain
                .as_ref()
                .is_some_and(|domain| !domain.owner.is_empty())
            {
                self.effect(&mut state, "claim", |state| {
                    if let Some(domain) = &mut state.domain {
                        domain.owner.clear();
                        domain.epoch = 0;
                    }
                })?;
            }
            return Ok(());
        }
        if state.domain.is_some() {
            self.effect(&mut state, "undefine", |state| state.domain = None)?;
        }
        if state.overlay || state.seed {
            self.effect(&mut state, "remove-volumes", |state| {
                state.overlay = false;
                state.seed = false;
                self.disk.wipe();
            })?;
        }
        Ok(())
    }
}
