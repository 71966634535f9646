//! The main job in one minute: from files to a pool, from the pool to a stream, from the stream to another pool, and back to
//! files, without root and without a kernel module.

use std::fs::{self, File};
use std::path::Path;

use crate::pairs::target_dir;
use crate::run::{Outcome, cargo, output, program, root, run};

/// What is put into the pool, in the root of the workspace.
const SOURCE: &str = "crates";

/// `demo`
pub(crate) fn task(_: &[String]) -> Outcome {
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    let target = target_dir();
    let dir = target.join("demo");
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: {error}", dir.display()));
        }
        _ => {}
    }
    let out = dir.join("out");
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let demo = Demo { zstream: target.join("release/zstream"), dir: dir.clone() };

    demo.zstream(&["pool", "create", "--size", "1G", "demo", "demo.img"])?;
    let source = root().join(SOURCE).canonicalize().map_err(|error| format!("{SOURCE}: {error}"))?;
    let source = source.to_str().ok_or("the path of the workspace is not UTF-8")?;
    demo.zstream(&["-d", "demo.img", "put", source, "demo:/"])?;
    demo.zstream(&["-d", "demo.img", "snapshot", "demo@now"])?;
    demo.send()?;
    demo.zstream(&["verify", "demo.zfs"])?;
    demo.zstream(&["pool", "create", "--size", "1G", "copy", "copy.img"])?;
    demo.receive()?;
    demo.zstream(&["-d", "copy.img", "list", "-r", "-t", "all", "copy"])?;
    demo.zstream(&["-d", "copy.img", "pool", "check"])?;
    demo.zstream(&["-d", "copy.img", "extract", "copy/demo@now", "-C", "out"])?;
    let difference = output(program("diff", &["-r", "--no-dereference", source, &path(&out.join(SOURCE))?]))?;
    if !difference.is_empty() {
        return Err(format!("what came back is not what was put:\n{difference}"));
    }
    println!("\nWhat came back is what was put. The pools and the stream are in {}.", dir.display());
    Ok(())
}

fn path(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

/// The program, and where it works.
struct Demo {
    zstream: std::path::PathBuf,
    dir: std::path::PathBuf,
}

impl Demo {
    fn command(&self, args: &[&str]) -> Result<std::process::Command, String> {
        let mut command = program(&path(&self.zstream)?, args);
        command.current_dir(&self.dir);
        Ok(command)
    }

    fn zstream(&self, args: &[&str]) -> Outcome {
        run(self.command(args)?)
    }

    fn send(&self) -> Outcome {
        let stream = File::create(self.dir.join("demo.zfs")).map_err(|error| format!("demo.zfs: {error}"))?;
        let mut command = self.command(&["-d", "demo.img", "send", "demo@now"])?;
        command.stdout(stream);
        run(command)
    }

    fn receive(&self) -> Outcome {
        let stream = File::open(self.dir.join("demo.zfs")).map_err(|error| format!("demo.zfs: {error}"))?;
        let mut command = self.command(&["-d", "copy.img", "recv", "copy/demo"])?;
        command.stdin(stream);
        run(command)
    }
}
