use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Rank;

/// Open connections at once, by rank: strangers can never crowd out those who may ask, nor programs that record the
/// person who looks for what is wrong with them.
#[derive(Debug)]
pub(super) struct Pools {
    strangers: Arc<Semaphore>,
    recorders: Arc<Semaphore>,
    commanders: Arc<Semaphore>,
}

impl Pools {
    pub(super) fn new(connections: usize, strangers: usize) -> Self {
        let pool = |size| Arc::new(Semaphore::new(size));
        Self { strangers: pool(strangers), recorders: pool(connections), commanders: pool(connections) }
    }

    /// A place for one connection, if there is one.
    pub(super) fn enter(&self, rank: Rank) -> Option<OwnedSemaphorePermit> {
        let pool = match rank {
            Rank::Stranger => &self.strangers,
            Rank::Recorder => &self.recorders,
            Rank::Commander => &self.commanders,
        };
        Arc::clone(pool).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_crowd_out_those_who_may_ask() {
        let pools = Pools::new(2, 4);
        let strangers: Vec<_> = (0..100).map_while(|_| pools.enter(Rank::Stranger)).collect();
        assert_eq!(strangers.len(), 4);
        let recorders: Vec<_> = (0..100).map_while(|_| pools.enter(Rank::Recorder)).collect();
        assert_eq!(recorders.len(), 2);
        assert!(pools.enter(Rank::Commander).is_some());
    }
}
