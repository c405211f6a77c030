//! Fake clock, seeded randomness, software authenticator, throwaway PostgreSQL, whole-gate harness
