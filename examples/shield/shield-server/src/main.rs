//! `shield-server`: answers `/`, `/healthz` and `/version` behind shield's rules.

mod app;
mod fault;
mod options;
mod signal;

use app::App;
use fault::Fault;
use options::{parse, Options, USAGE};
use shield_http::{Limits, Server};
use std::process::ExitCode;

const VERSION: &str = env!("SHIELD_VERSION");
const FAULT: &str = env!("SHIELD_FAULT");

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Options { help: true, .. }) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Options { version: true, .. }) => {
            println!("shield-server {VERSION}");
            ExitCode::SUCCESS
        }
        Ok(options) => run(&options),
        Err(message) => {
            eprintln!("shield-server: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let (address, port) = (options.address.as_str(), options.port);
    let server = match Server::bind((address, port), Limits::default()) {
        Ok(server) => server,
        Err(e) => {
            eprintln!("shield-server: cannot listen on {address}:{port}: {e}");
            return ExitCode::FAILURE;
        }
    };
    println!("shield-server {VERSION} listening on http://{}", server.address());
    let stopper = server.stopper();
    signal::on_terminate(move || stopper.stop());
    let app = App::new(VERSION, Fault::from_name(FAULT), options.rate);
    if server.serve(move |request| app.answer(request)) {
        ExitCode::SUCCESS
    } else {
        eprintln!("shield-server: stopped with requests unfinished");
        ExitCode::FAILURE
    }
}
