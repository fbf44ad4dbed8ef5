//! Writes the man pages and the shell completions into a folder: `manuals FOLDER`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: manuals FOLDER")?;
    let folder = PathBuf::from(folder);
    let mut command = ecs_deployd::cli::Arguments::command();
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    Man::new(command.clone()).render(&mut fs::File::create(pages.join("ecs-deployd.1"))?)?;
    // Global options are on the page of each command, too.
    command.build();
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        let file = pages.join(format!("ecs-deployd-{}.1", below.get_name()));
        // Every page is kept to the end of the process: clap wants names that live as long.
        let name: &'static str = format!("ecs-deployd-{}", below.get_name()).leak();
        let page = Man::new(below.clone().name(name).bin_name(format!("ecs-deployd {}", below.get_name())));
        page.render(&mut fs::File::create(file)?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut ecs_deployd::cli::Arguments::command(), "ecs-deployd", &folder)?;
    }
    Ok(())
}
