//! An asker with an access token, as the command line describes it.

use clap::Args;

/// Whose token it is, and what it says.
#[derive(Debug, Default, Args, Clone)]
pub struct BearerArgs {
    /// Asks with a person's access token of this provider; `--group` says whose.
    #[arg(long, value_name = "PROVIDER", group = "bearer", conflicts_with_all = ["proved", "device"])]
    pub token: Option<String>,
    /// Asks with an agent's access token. Its groups are those of the service's configuration, or of `--group`.
    #[arg(long, value_name = "PROVIDER/CLIENT", group = "bearer", conflicts_with_all = ["proved", "device"])]
    pub agent: Option<String>,
    /// The login of the person who answers for the agent.
    #[arg(long, value_name = "LOGIN", requires = "agent")]
    pub owner: Option<String>,
    /// The token's `acr`: the class of the login that it came of.
    #[arg(long, value_name = "CLASS", requires = "bearer")]
    pub acr: Option<String>,
    /// A method in the token's `amr`; several times.
    #[arg(long, value_name = "METHOD", requires = "bearer")]
    pub amr: Vec<String>,
    /// How long ago that login was, e.g. `5m`. Without it the token has no `auth_time`; an agent's is then
    /// its own (client credentials).
    #[arg(long, value_name = "AGE", requires = "bearer")]
    pub auth_age: Option<String>,
    /// A scope that the token has; several times.
    #[arg(long = "scope", value_name = "SCOPE", requires = "bearer")]
    pub scopes: Vec<String>,
}
