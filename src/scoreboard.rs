//! What every process shows of itself, in shared memory.
