//! Password, authenticator code, passkey, recovery code
