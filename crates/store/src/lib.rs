//! SQLite and PostgreSQL behind the ports of stepgate-core
