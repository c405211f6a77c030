//! The pages that people see: sign-in, challenge, enrolment, own account
