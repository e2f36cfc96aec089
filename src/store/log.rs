//! `usage.db-wal` looked at without SQLite, which takes the first frame that is not whole for the log's end and forgets
//! silently what comes after it.
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Its lowest bit says in which order the bytes of a word are summed up.
const MAGIC: u32 = 0x377f_0682;
/// Of the last transaction, which nobody was told of yet, a power cut may leave any part.
const UNTOLD: u32 = 1;

/// Why transactions of the log are lost that had been stored; `None` where it is whole, or there is none.
pub(super) fn lost(wal: &Path) -> std::io::Result<Option<String>> {
    let file = match File::open(wal) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::new(file);
    let mut header = [0; HEADER];
    if !filled(&mut file, &mut header)? {
        return Ok(None);
    }
    let words = words(&header, false);
    let (magic, page_size, salts) = (word(&words, 0), word(&words, 2), (word(&words, 4), word(&words, 5)));
    let little = magic & 1 == 0;
    let mut sum = summed((0, 0), header.get(..24).unwrap_or_default(), little);
    if magic & !1 != MAGIC || sum != (word(&words, 6), word(&words, 7)) {
        return Ok(Some("the header of its log is not whole, so nothing of the log can be read".to_owned()));
    }
    let mut frame = vec![0; FRAME_HEADER.saturating_add(usize::try_from(page_size).unwrap_or(0))];
    let (mut is_whole, mut lost) = (true, 0_u32);
    while filled(&mut file, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let its = self::words(head, false);
        // Frames of an earlier turn of the log lie behind those of this one.
        let is_of_this_turn = (word(&its, 2), word(&its, 3)) == salts;
        if is_whole {
            let next = summed(summed(sum, head.get(..8).unwrap_or_default(), little), page, little);
            is_whole = is_of_this_turn && next == (word(&its, 4), word(&its, 5));
            sum = next;
        }
        let commits = word(&its, 1) != 0;
        if !is_whole && is_of_this_turn && commits {
            lost = lost.saturating_add(1);
        }
    }
    let said = format!("a frame of its log is not whole, and {lost} transactions from there on cannot be read");
    Ok((lost > UNTOLD).then_some(said))
}

/// False where the file ends before.
fn filled(file: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn words(bytes: &[u8], little: bool) -> Vec<u32> {
    let of = |four: &[u8]| {
        let four: [u8; 4] = four.try_into().unwrap_or_default();
        if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    };
    bytes.chunks_exact(4).map(of).collect()
}

fn word(words: &[u32], at: usize) -> u32 {
    words.get(at).copied().unwrap_or(0)
}

/// SQLite's checksum, continued.
fn summed(mut sum: (u32, u32), bytes: &[u8], little: bool) -> (u32, u32) {
    for pair in words(bytes, little).chunks_exact(2) {
        sum.0 = sum.0.wrapping_add(word(pair, 0)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(pair, 1)).wrapping_add(sum.0);
    }
    sum
}
