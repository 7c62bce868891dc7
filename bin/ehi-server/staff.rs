//! `ehi-server staff`: who reviews exports, by name and password.

use clap::{Args, Subcommand, ValueEnum};
use ehi_core::auth::{StaffMember, StaffName, StaffRole};

use crate::Failure;
use crate::config::Config;
use crate::database::Configured;
use crate::log::say;
use crate::password::read_hash;
use crate::people::{Change, list_staff};

/// What to do with staff, in the directory file or in the database, as the configuration says. A
/// running server goes by it a second later.
#[derive(Debug, Subcommand)]
pub enum StaffCommand {
    /// Add somebody; their password is read from standard input
    Add(AddArguments),
    /// Show who there is, and what each may do
    List(Configured),
    /// Take somebody out: they are logged out at their next request
    Remove(NamedArguments),
    /// Give somebody another password, which is read from standard input
    SetPassword(NamedArguments),
}

/// Whom, of which server.
#[derive(Debug, Args)]
pub struct NamedArguments {
    #[command(flatten)]
    config: Configured,
    /// The name they log in by
    #[arg(value_parser = staff_name)]
    name: StaffName,
}

/// Somebody new.
#[derive(Debug, Args)]
pub struct AddArguments {
    #[command(flatten)]
    member: NamedArguments,
    /// What they may do
    #[arg(long, value_enum, default_value_t = RoleArgument::Reviewer)]
    role: RoleArgument,
}

/// What a member of staff may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArgument {
    /// Look at exports, complete, release, decline and remove them
    Reviewer,
    /// Look at who did what, too
    Admin,
}

fn staff_name(text: &str) -> Result<StaffName, &'static str> {
    StaffName::parse(text)
        .ok_or("a name has 1 to 128 characters, no control characters, and no space at its ends")
}

/// Does what the command says.
pub async fn run(command: StaffCommand) -> Result<(), Failure> {
    match command {
        StaffCommand::Add(AddArguments {
            member: NamedArguments { config, name },
            role,
        }) => {
            let config = config.read()?;
            let role = match role {
                RoleArgument::Reviewer => StaffRole::Reviewer,
                RoleArgument::Admin => StaffRole::Admin,
            };
            let member = StaffMember { name, role };
            let said = format!("{} can log in.", member.name);
            Change::AddStaff(member, read_hash()?).make(&config).await?;
            say(&said);
            note(&config);
        }
        StaffCommand::List(config) => {
            for StaffMember { name, role } in list_staff(&config.read()?).await? {
                let role = match role {
                    StaffRole::Reviewer => "reviewer",
                    StaffRole::Admin => "admin",
                };
                say(&format!("{name}\t{role}"));
            }
        }
        StaffCommand::Remove(NamedArguments { config, name }) => {
            let said = format!("{name} can log in no more.");
            Change::RemoveStaff(name).make(&config.read()?).await?;
            say(&said);
        }
        StaffCommand::SetPassword(NamedArguments { config, name }) => {
            let config = config.read()?;
            let said = format!("{name} logs in with the new password from now on.");
            let hash = read_hash()?;
            Change::ReplacePassword(name, hash).make(&config).await?;
            say(&said);
        }
    }
    Ok(())
}

/// Says so where passwords are not what staff log in by.
fn note(config: &Config) {
    if config.staff_login.is_some() {
        say(
            "But staff of this server log in at their identity provider, as [staff_login] says: no password counts.",
        );
    }
}
