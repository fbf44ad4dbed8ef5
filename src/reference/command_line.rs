//! The page `command-line.md` of the reference.

use clap::{Arg, Command, CommandFactory as _};

use super::{code, table, title};
use crate::cli::Arguments;

pub(super) fn document() -> String {
    let mut command = Arguments::command().term_width(0);
    command.build();
    let mut text = title("Command line");
    text.push_str(
        "\nThe log goes to standard error, and what a command shows to standard output. What each exit code means in general: \
         [exit codes](exit-codes.md).\n\n## Options of every command\n",
    );
    let global: Vec<&Arg> = command.get_arguments().filter(|argument| argument.is_global_set()).collect();
    text.push_str(&options(&global));
    text.push_str(
        "\n`ECS_DEPLOYD_CONFIG_CONTENT` holds the text of a configuration; it is used where neither `--config` nor `ECS_DEPLOYD_CONFIG` names \
         a file.\n",
    );
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        text.push_str(&of_command(below));
    }
    text
}

fn of_command(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!("\n## `{}`\n\n{about}.\n\n```text\n{usage}\n```\n", command.get_name());
    let own = command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help");
    let own: Vec<&Arg> = own.collect();
    if !own.is_empty() {
        text.push_str(&options(&own));
    }
    text
}

fn options(arguments: &[&Arg]) -> String {
    let rows = arguments.iter().filter(|argument| argument.get_id() != "help").map(|argument| {
        let takes_value = argument.get_action().takes_values();
        let names = argument.get_value_names().unwrap_or_default();
        let value: Vec<String> = names.iter().filter(|_| takes_value).map(|name| format!("<{name}>")).collect();
        let long = argument.get_long().map(|long| format!("--{long}"));
        let name: Vec<String> = long.into_iter().chain(value).collect();
        let variable = argument.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default();
        let words = argument.get_possible_values();
        let words: Vec<String> = words.iter().filter(|_| takes_value).map(|word| code(word.get_name())).collect();
        let default: Vec<String> = argument
            .get_default_values()
            .iter()
            .filter(|_| takes_value)
            .map(|value| code(&value.to_string_lossy()))
            .collect();
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        [code(&name.join(" ")), variable, words.join(", "), default.join(", "), meaning]
    });
    table(["argument", "variable", "values", "default", "meaning"], rows)
}
