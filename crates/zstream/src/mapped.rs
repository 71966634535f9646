//! A regular file whose bytes are viewed where the page cache holds them, not copied out of it.
//!
//! The file is mapped anew for each 16 MiB that are viewed, so that neither the memory that counts as this
//! program's nor the page tables grow with the file.
//!
//! Where a mapped file cannot be read any more, because its disk fails or another program cut it short, the system sends
//! the signal SIGBUS instead of an error. The thread that is hit can do nothing about it. Another one, `watch`, waits for
//! the signal, looks for the place and the reason with plain reads, and calls a function of the program, which must end it.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use memmap2::Advice;
use mmap_guard::FileData;
use signal_hook::consts::SIGBUS;
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;
use zstream_format::stream::View;

/// Bytes that are viewed through one mapping.
const WINDOW_BYTES: u64 = 16 << 20;

/// A smaller file is read: that is as fast.
const MIN_BYTES: u64 = 4 << 20;

/// How far before the furthest view a view can still be in use.
const BEHIND_BYTES: u64 = 256 << 20;

/// Bytes that are read at a time to find the place that cannot be read.
const SEARCH_BYTES: usize = 4096;

/// Ends the program, because a mapped file can no longer be read for this reason.
pub type OnUnreadable = fn(reason: &str) -> !;

/// The file that [`watch`] reports: the one that was mapped last.
static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    file: File,
    len: u64,
    /// The end of the furthest view.
    reached: u64,
}

/// A file that is mapped, one window after the other.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    /// Device and inode, so that another file that took its name is not taken for it.
    identity: (u64, u64),
    len: u64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    map: Option<Arc<FileData>>,
    /// Bytes that were viewed through it.
    viewed: u64,
    /// It cannot be mapped any more: it is read from here on.
    given_up: bool,
}

impl Mapped {
    /// The file at `path`, which is open as `file`; `None` where it is as well to read it. The first file that is mapped
    /// replaces the handler of SIGBUS for the rest of the program: it calls `on_unreadable`.
    #[must_use]
    pub fn new(path: &Path, file: &File, on_unreadable: OnUnreadable) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        if metadata.len() < MIN_BYTES || !watch(on_unreadable) {
            return None;
        }
        let (path, len) = (path.to_owned(), metadata.len());
        *lock(&WATCHED) = Some(Watched { path: path.clone(), file: file.try_clone().ok()?, len, reached: 0 });
        Some(Self { path, identity: identity(&metadata), len, window: Mutex::default() })
    }

    /// As [`ReadAt::view`](zstream_format::stream::ReadAt::view).
    #[must_use]
    pub fn view(&self, offset: u64, len: usize) -> Option<View> {
        let mut window = lock(&self.window);
        if window.given_up {
            return None;
        }
        if window.map.is_none() || window.viewed >= WINDOW_BYTES {
            *window = Window { map: self.map(), ..Window::default() };
            window.given_up = window.map.is_none();
        }
        window.viewed += len as u64;
        let view = View::new(window.map.clone()?, offset, len);
        if let Some(watched) = &mut *lock(&WATCHED) {
            watched.reached = watched.reached.max(offset + view.len() as u64);
        }
        Some(view)
    }

    /// Maps the file; `None` where that cannot be done, or it is not the file that it was.
    fn map(&self) -> Option<Arc<FileData>> {
        let data = mmap_guard::map_file(&self.path).ok()?;
        let FileData::Mapped(map, file) = &data else { return None };
        let metadata = file.metadata().ok()?;
        if identity(&metadata) != self.identity || metadata.len() != self.len || map.len() as u64 != self.len
        {
            return None;
        }
        // Only a hint.
        let _ = map.advise(Advice::Sequential);
        Some(Arc::new(data))
    }
}

/// What a file is known by whatever its name is.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a thread wait for SIGBUS until the program ends; whether it does.
///
/// The thread that is hit comes back to the same instruction, and is hit again, until the program ends. Rust's own
/// handler, which looks for overflows of the stack, would not let that happen: at the first signal that is none, it puts
/// the default back, which kills at the second. So it is given that first one here, before ours takes its place.
/// On Linux, overflows give SIGSEGV, for which it stays.
fn watch(on_unreadable: OnUnreadable) -> bool {
    static WATCHES: OnceLock<bool> = OnceLock::new();
    *WATCHES.get_or_init(|| {
        if !cfg!(target_os = "linux") || raise(SIGBUS).is_err() {
            return false;
        }
        let Ok(mut signals) = Signals::new([SIGBUS]) else { return false };
        let wait = move || {
            if signals.forever().next().is_some() {
                let reason = lock(&WATCHED).as_ref().map(Watched::reason);
                on_unreadable(reason.as_deref().unwrap_or("SIGBUS"));
            }
        };
        thread::Builder::new().name("mapped file".into()).spawn(wait).is_ok()
    })
}

impl Watched {
    /// Why it cannot be read any more, and where.
    fn reason(&self) -> String {
        let name = self.path.display();
        match self.file.metadata() {
            Ok(now) if now.len() < self.len => {
                return format!(
                    "{name} was truncated while it was read: {} of {} bytes are left",
                    now.len(),
                    self.len
                );
            }
            Ok(_) => {}
            Err(error) => return format!("{name} can no longer be read: {error}"),
        }
        let mut piece = [0; SEARCH_BYTES];
        let start = self.reached.saturating_sub(BEHIND_BYTES) / SEARCH_BYTES as u64 * SEARCH_BYTES as u64;
        for offset in (start..self.len).step_by(SEARCH_BYTES) {
            if let Err(error) = self.file.read_at(&mut piece, offset) {
                return format!("{name} cannot be read at offset {offset}: {error}");
            }
        }
        format!("{name} could temporarily not be read before offset {}", self.reached)
    }
}
