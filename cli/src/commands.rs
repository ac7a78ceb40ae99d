//! Runs the subcommands.

use std::{ffi::OsStr, path::Path};

use clap::CommandFactory as _;
use serde_json::json;
use tower_api_key::{key::KeyFormat, store::Change};

use crate::{
    Failure,
    args::{Args, Command, DEFAULT_FILE},
    check::check,
    copy::copy,
    edit::{edit, pause, resume},
    import::{Import, import, import_bulk},
    issue::issue,
    list::list,
    output,
    prune::prune,
    revoke::{Target, revoke},
    rotate::rotate,
    show::show,
    store::{Engine, Store, find_engine, key_file},
    usage::usage,
};

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { file, store, password_file, json, command } = args;
    let password_file = password_file.as_deref().filter(|path| !path.is_empty()).map(Path::new);
    let engine = || choose_engine(file.as_deref(), store.as_deref(), password_file);
    let open = |create| Store::open(&*engine()?, create, json);
    match command {
        Command::Issue { client, prefix, key, author } => {
            key.check_lifetime()?;
            issue(&open(true)?, json, &client, &KeyFormat::new(prefix)?, &key, &author)
        }
        Command::List { from, filter } => list(&open(false)?, json, from, &filter),
        Command::Show { key_id } => show(&open(false)?, json, &key_id),
        Command::Edit { key_id, edit: args } => {
            args.key.check_lifetime()?;
            edit(&open(false)?, json, &key_id, args)
        }
        Command::Usage { from, client, last } => {
            usage(json, from, client.as_deref(), &last, &*engine()?)
        }
        Command::Rotate { key_id, overlap, prefix, remarks } => {
            let format = prefix.map(KeyFormat::new).transpose()?;
            let store = open(false)?;
            let change = Change::rotate(&*key_id, overlap);
            let change = format.into_iter().fold(change, Change::with_format);
            rotate(&store, json, &key_id, remarks.add_to(change, &store))
        }
        Command::Revoke { target, remarks, confirm } => {
            let target = match (target.key_id, target.client) {
                (Some(key_id), _) => Target::Key(key_id),
                (None, client) => Target::Client(client.unwrap_or_default()),
            };
            revoke(&open(false)?, json, &target, &remarks, confirm.yes)
        }
        Command::Pause { key_id } => pause(&open(false)?, json, &key_id),
        Command::Resume { key_id } => resume(&open(false)?, json, &key_id),
        Command::Check => check(&open(false)?, json),
        Command::Import { client, mode, prefix, key, author } => {
            key.check_lifetime()?;
            let format = prefix.map(KeyFormat::new).transpose()?;
            let store = open(true)?;
            let import_args = Import { store: &store, json, mode, key, author, format };
            match client {
                Some(client) => import(&import_args, &client),
                None => import_bulk(&import_args),
            }
        }
        Command::Prune { confirm } => prune(&open(false)?, json, confirm.yes),
        Command::Copy { from, to } => {
            let from = Store::open(&*find_engine("--from", &from, password_file)?, false, json)?;
            let to = Store::open(&*find_engine("--to", &to, password_file)?, true, json)?;
            copy(&from, &to, json)
        }
        Command::Migrate => migrate(&*engine()?, json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "apikey", &mut script);
            output::print_lines([String::from_utf8_lossy(&script).into_owned()].into_iter())
        }
    }
}

/// Chooses the store that the options or the environment name.
fn choose_engine(
    file: Option<&OsStr>,
    store: Option<&OsStr>,
    password_file: Option<&Path>,
) -> Result<Box<dyn Engine>, Failure> {
    match (file, store) {
        (Some(file), _) if file.is_empty() => Err(Failure::usage("--file needs a file name")),
        (Some(_), Some(_)) => Err(Failure::usage(
            "API_KEYS_FILE and API_KEYS_STORE are both set: unset one, or add --file or --store",
        )),
        (Some(file), None) => Ok(key_file(file)),
        (None, Some(store)) => find_engine("--store", store, password_file),
        (None, None) => Ok(key_file(DEFAULT_FILE.as_ref())),
    }
}

fn migrate(engine: &dyn Engine, json: bool) -> Result<(), Failure> {
    let migrated = Store::migrate(engine)?;
    let place = Store::open(engine, false, json)?.place();
    let (from, to) = (migrated.from, migrated.to);
    if json {
        return output::print_json(&json!({ "store": place, "from": from, "to": to }));
    }
    output::print_message(&match from {
        None => format!("Created the tables of {place}, with version {to}."),
        Some(from) if from == to => format!("The tables of {place} have version {to} already."),
        Some(from) => format!("Upgraded the tables of {place} from version {from} to {to}."),
    });
    Ok(())
}
