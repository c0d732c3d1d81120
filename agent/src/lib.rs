//! What the agent collects and how it publishes.
