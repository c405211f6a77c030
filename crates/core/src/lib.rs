//! The decision: operations, assurance, policy, challenges, and the flows that join them
