//! `ehi-server client`: registrations of apps and systems, in the directory file or the database.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use ehi_adapters::accounts::{AuthMethod, Lifetime, Registration, hash_password};
use ehi_adapters::system::SystemEntropy;
use ehi_core::auth::{
    Client, ClientId, Introspects, LoopbackRedirects, RegisteredUrl, RegistrationId, Scope, Scopes,
    Secret,
};
use ehi_core::ports::Entropy;
use url::Url;

use crate::Failure;
use crate::database::Configured;
use crate::log::say;
use crate::people::{Change, list_clients};

/// What to do with registrations, in the directory file or in the database, as the configuration
/// says. A running server goes by a change a second later.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Register an app or a system
    Add(Box<AddArguments>),
    /// Show who is registered
    List(Configured),
    /// Take a registration back: its tokens are worth nothing from then on
    Remove(NamedArguments),
    /// Replace the secret of a client by a new one, which is printed once
    RotateSecret(NamedArguments),
}

/// Which client of which server.
#[derive(Debug, Args)]
pub struct NamedArguments {
    #[command(flatten)]
    config: Configured,
    /// The client's id
    #[arg(value_parser = client_id)]
    id: ClientId,
}

/// A new client. Without --secret, --jwks or --jwks-uri it is a public one.
#[derive(Debug, Args)]
pub struct AddArguments {
    #[command(flatten)]
    client: NamedArguments,
    /// What patients know it by
    #[arg(long)]
    name: String,
    /// Make a secret for it, which is printed once
    #[arg(long, group = "proof")]
    secret: bool,
    /// A file with its public keys, as a JWK Set
    #[arg(long, group = "proof")]
    jwks: Option<PathBuf>,
    /// Where it publishes its public keys
    #[arg(long, group = "proof")]
    jwks_uri: Option<Url>,
    /// Where authorization codes may go; may be given several times
    #[arg(long, value_parser = registered_url)]
    redirect_uri: Vec<RegisteredUrl>,
    /// Where the browser may return after the form; may be given several times
    #[arg(long, value_parser = registered_url)]
    return_url: Vec<RegisteredUrl>,
    /// Take redirect URIs on `127.0.0.1` and `[::1]` at any port: native apps
    #[arg(long)]
    any_loopback_port: bool,
    /// What it may ask for; may be given several times. What patients' apps need, unless given
    #[arg(long, value_parser = scope)]
    scope: Vec<Scope>,
    /// How long its access tokens live, such as '10 min', where that is shorter than others'
    #[arg(long)]
    access_token_lifetime: Option<Lifetime>,
    /// How long its refresh tokens live, such as '30 days', where that is shorter than others'
    #[arg(long)]
    refresh_token_lifetime: Option<Lifetime>,
    /// Which tokens it may ask about
    #[arg(long, value_enum, default_value_t = IntrospectsArgument::Own)]
    introspects: IntrospectsArgument,
}

/// Which tokens a client may ask about.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum IntrospectsArgument {
    /// Its own
    Own,
    /// All: a server of the hospital that takes these tokens
    All,
}

fn client_id(text: &str) -> Result<ClientId, &'static str> {
    ClientId::try_from(text.to_owned())
}

fn registered_url(text: &str) -> Result<RegisteredUrl, &'static str> {
    RegisteredUrl::try_from(text.to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("it has to be one of {}", known.join(", "))
    })
}

/// Does what the command says.
pub async fn run(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Add(arguments) => add(*arguments).await,
        ClientCommand::List(config) => {
            for client in list_clients(&config.read()?).await? {
                say(&line(&client));
            }
            Ok(())
        }
        ClientCommand::Remove(NamedArguments { config, id }) => {
            let said = format!("{id} is no longer registered.");
            Change::RemoveClient(id).make(&config.read()?).await?;
            say(&said);
            Ok(())
        }
        ClientCommand::RotateSecret(NamedArguments { config, id }) => {
            let (secret, hash) = new_secret()?;
            Change::ReplaceSecret(id, hash)
                .make(&config.read()?)
                .await?;
            say("The old secret is worth nothing any more. The new one, shown this once:");
            say(secret.expose());
            Ok(())
        }
    }
}

async fn add(arguments: AddArguments) -> Result<(), Failure> {
    let NamedArguments { config, id } = &arguments.client;
    let config = config.read()?;
    let made = arguments.secret.then(new_secret).transpose()?;
    let (secret, hash) = made.unzip();
    let client = registration(&arguments, hash)?;
    Change::AddClient(Box::new(client)).make(&config).await?;
    say(&format!("{id} is registered."));
    if let Some(secret) = secret {
        say("Its secret, shown this once:");
        say(secret.expose());
    }
    Ok(())
}

fn registration(arguments: &AddArguments, hash: Option<String>) -> Result<Registration, Failure> {
    let jwks = arguments.jwks.as_deref().map(read_jwks).transpose()?;
    let with_keys = jwks.is_some() || arguments.jwks_uri.is_some();
    let for_patients = [
        Scope::PatientEhiExport,
        Scope::LaunchPatient,
        Scope::OfflineAccess,
        Scope::OnlineAccess,
    ];
    let scopes: Scopes = if arguments.scope.is_empty() {
        for_patients.into_iter().collect()
    } else {
        arguments.scope.iter().copied().collect()
    };
    Ok(Registration {
        id: arguments.client.id.clone(),
        registration: Some(RegistrationId::from_random(SystemEntropy.bytes())),
        name: arguments.name.clone(),
        token_endpoint_auth_method: match (&hash, with_keys) {
            (Some(_), _) => AuthMethod::ClientSecretBasic,
            (None, true) => AuthMethod::PrivateKeyJwt,
            (None, false) => AuthMethod::None,
        },
        secret_hash: hash,
        jwks,
        jwks_uri: arguments.jwks_uri.clone(),
        redirect_uris: arguments.redirect_uri.clone(),
        return_urls: arguments.return_url.clone(),
        loopback: if arguments.any_loopback_port {
            LoopbackRedirects::AnyPort
        } else {
            LoopbackRedirects::Registered
        },
        scopes,
        access_token_lifetime: arguments.access_token_lifetime.clone(),
        refresh_token_lifetime: arguments.refresh_token_lifetime.clone(),
        introspects: match arguments.introspects {
            IntrospectsArgument::Own => Introspects::Own,
            IntrospectsArgument::All => Introspects::All,
        },
        quirks: Vec::new(),
    })
}

fn read_jwks(file: &Path) -> Result<serde_json::Value, Failure> {
    let cannot = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::because(format!("{} cannot be read", file.display()), error)
    };
    let text = std::fs::read_to_string(file).map_err(|error| cannot(error.into()))?;
    serde_json::from_str(&text).map_err(|error| cannot(error.into()))
}

/// A client in one line.
fn line(client: &Client) -> String {
    let Client {
        id,
        name,
        authentication,
        scopes,
        ..
    } = client;
    format!("{id}\t{}\t{scopes}\t{name}", authentication.method())
}

/// A secret, and the hash that is kept of it.
fn new_secret() -> Result<(Secret, String), Failure> {
    let secret = Secret::from_random(SystemEntropy.bytes());
    let hash = hash_password(&secret.expose().to_owned().into())
        .map_err(|error| Failure::because("the secret could not be hashed", error))?;
    Ok((secret, hash))
}
