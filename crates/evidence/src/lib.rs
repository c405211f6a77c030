//! What Stepgate writes into its ledger, and the one pure check of a WebAuthn assertion
