//! Two writers at once.

use std::io::ErrorKind;

use super::*;

/// Of two writers that commit at the same time one succeeds, and the other one has changed nothing.
#[test]
fn one_of_two_writers_wins() {
    let store = memory();
    drop(open(&places(Arc::clone(&store)), CREATE).unwrap());
    let mut wins = [0; 2];
    for round in 0..1000_u32 {
        let both = std::sync::Barrier::new(2);
        let results = std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer: u8| {
                let device = open(&places(Arc::clone(&store)), Mode::Write).unwrap();
                let both = &both;
                scope.spawn(move || {
                    let value = [round.to_le_bytes()[0], round.to_le_bytes()[1], writer];
                    device.write_at(START + 100, &value).unwrap();
                    device.write_at(4096, &value).unwrap();
                    both.wait();
                    device.flush().map(|()| value)
                })
            });
            writers.map(|writer| writer.join().unwrap())
        });
        let values: Vec<[u8; 3]> = results.iter().flatten().copied().collect();
        let error = results.iter().find_map(|result| result.as_ref().err());
        assert_eq!(values.len(), 1, "round {round}: {results:?}");
        assert_eq!(error.unwrap().kind(), ErrorKind::ResourceBusy);
        wins[usize::from(values[0][2])] += 1;
        let device = open(&places(Arc::clone(&store)), Mode::Read).unwrap();
        for address in [START + 100, 4096] {
            let mut out = [0; 3];
            device.read_at(address, &mut out).unwrap();
            assert_eq!(out, values[0], "round {round}");
        }
    }
    assert_eq!(wins[0] + wins[1], 1000);
}

/// A writer that stalls while another one commits is refused, however long it stalled.
#[test]
fn a_stalled_writer_comes_back_too_late() {
    for commits in [1_u64, 3] {
        let store = memory();
        drop(open(&places(Arc::clone(&store)), CREATE).unwrap());
        let stalled = Limits { stall: Duration::ZERO, ..LIMITS };
        let opener = places(Arc::clone(&store)).with_limits(4, stalled, PATIENCE);
        let late = open(&opener, Mode::Write).unwrap();
        late.write_at(START, b"late").unwrap();
        let other = open(&places(Arc::clone(&store)), Mode::Write).unwrap();
        for n in 0..commits {
            other.write_at(START, &[n as u8; 4]).unwrap();
            other.flush().unwrap();
        }
        let opener = places(Arc::clone(&store));
        if commits == 3 {
            // The generation that the late writer is about to commit was collected.
            let (_, store) = opener.store(URL, false).unwrap();
            let names = [1, 2].map(crate::format::generation_name);
            store.delete(names.to_vec()).unwrap();
        }
        let error = late.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
        assert!(error.to_string().contains("another writer"), "{error}");
        assert!(late.write_at(START, b"more").is_err());
        let mut out = [0; 4];
        open(&opener, Mode::Read).unwrap().read_at(START, &mut out).unwrap();
        assert_eq!(out, [commits as u8 - 1; 4]);
    }
}
