//! The command line.

pub const USAGE: &str =
    "usage: shield-server [--address A] [--port N] [--rate REQUESTS_PER_SECOND_AND_CLIENT]";

#[derive(Debug, PartialEq)]
pub struct Options {
    pub address: String,
    pub port: u16,
    pub rate: Option<f64>,
    pub version: bool,
    pub help: bool,
}

/// Arguments without the program's name; the error is one line for the user.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { address: "127.0.0.1".to_string(), port: 8080, rate: None, version: false, help: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--address" => options.address = value()?,
            "--port" => {
                let text = value()?;
                options.port = text.parse().map_err(|_| format!("not a port: {text}"))?;
            }
            "--rate" => {
                let text = value()?;
                let rate = text.parse().ok().filter(|r: &f64| r.is_finite() && *r > 0.0);
                options.rate = Some(rate.ok_or(format!("not a rate: {text}"))?);
            }
            "--version" => options.version = true,
            "--help" => options.help = true,
            _ => return Err(format!("unknown argument: {arg}")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn of(text: &str) -> Result<super::Options, String> {
        parse(text.split_whitespace().map(String::from))
    }

    #[test]
    fn address_and_port_are_taken() {
        let options = of("--port 0 --address ::1").unwrap();
        assert_eq!((options.port, options.address.as_str()), (0, "::1"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(of("--port 70000").unwrap_err(), "not a port: 70000");
        assert_eq!(of("--port").unwrap_err(), "--port needs a value");
        assert_eq!(of("--rate -1").unwrap_err(), "not a rate: -1");
        assert_eq!(of("--prot 1").unwrap_err(), "unknown argument: --prot");
    }
}
