//! The program that a process executes: the file that `/proc/<pid>/exe` leads to, and the memory that is mapped from it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `struct prctl_mm_map` of <linux/prctl.h>.
#[repr(C)]
#[derive(Debug, Default)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    /// None leaves it as it is.
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// A part of the program in memory: whole pages.
#[derive(Debug, Clone, Copy)]
struct Segment {
    start: usize,
    length: usize,
    offset: i64,
    rights: libc::c_int,
}

/// Makes `file` the program that the caller executes, in place of the same file by the path that was executed: what
/// `/proc/<pid>/exe` leads to. Its memory is mapped from `file` then, as the kernel demands of one that lets go of its
/// old program (prctl(2), `PR_SET_MM_MAP` and `PR_SET_MM_EXE_FILE`). Costs less than executing it once more.
///
/// The caller is single-threaded, and `file` has the content that it was executed from.
///
/// # Errors
/// `EPERM` without `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`, `EINVAL` from a kernel that saves no processes, `ENOEXEC`
/// for a program that is laid out otherwise; and as mmap(2). The caller goes on as before.
pub fn replace_file(file: &File) -> io::Result<()> {
    let map = MemoryMap { exe_fd: file.as_raw_fd().cast_unsigned(), ..memory_map()? };
    let layout = Layout::own().ok_or(io::Error::from_raw_os_error(libc::ENOEXEC))?;
    for segment in layout.segments.into_iter().flatten() {
        if segment.rights & libc::PROT_WRITE == 0 {
            map_again(segment, file.as_fd())?;
        } else {
            take_out_of_file(segment)?;
        }
    }
    if let Some((start, length)) = layout.read_only {
        // SAFETY: pages of the program's that were read-only until a moment ago.
        check(unsafe { libc::mprotect(start_of(start), length, libc::PROT_READ) })?;
    }
    // SAFETY: the kernel copies the structure.
    check(unsafe {
        libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, &raw const map, size_of::<MemoryMap>(), 0 as libc::c_ulong)
    })
}

/// <linux/prctl.h>
const PR_SET_MM_MAP: libc::c_ulong = 14;
/// More than linkers make.
const MOST_SEGMENTS: usize = 8;

/// What of the program is where.
struct Layout {
    segments: [Option<Segment>; MOST_SEGMENTS],
    /// Address and length of what is read-only once it is relocated.
    read_only: Option<(usize, usize)>,
}

impl Layout {
    /// As the program headers have it, which the kernel has told us where to find (getauxval(3)).
    fn own() -> Option<Layout> {
        // SAFETY: it has no precondition.
        let told = |about| unsafe { libc::getauxval(about) };
        let [first, count, page] = [libc::AT_PHDR, libc::AT_PHNUM, libc::AT_PAGESZ].map(told);
        let first = start_of(usize::try_from(first).ok()?).cast::<libc::Elf64_Phdr>();
        if first.is_null() {
            return None;
        }
        // SAFETY: the kernel's word for where the loaded program has its headers, which are never written.
        let headers = unsafe { std::slice::from_raw_parts(first.cast_const(), usize::try_from(count).ok()?) };
        let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR)?;
        let base = first.addr().wrapping_sub(usize::try_from(own.p_vaddr).ok()?);
        let page = usize::try_from(page).ok().filter(|page| *page > 0)?;
        let at = |address: u64| Some(base.wrapping_add(usize::try_from(address).ok()?));
        let mut layout = Layout { segments: [None; MOST_SEGMENTS], read_only: None };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_filesz > 0);
        let mut places = layout.segments.iter_mut();
        for header in loaded {
            let address = at(header.p_vaddr)?;
            let start = address / page * page;
            let end = (address + usize::try_from(header.p_filesz).ok()?).next_multiple_of(page);
            let offset = i64::try_from(header.p_offset).ok()? - i64::try_from(address - start).ok()?;
            let right = |flag: u32, right: libc::c_int| if header.p_flags & flag != 0 { right } else { 0 };
            let rights = right(libc::PF_R, libc::PROT_READ)
                | right(libc::PF_W, libc::PROT_WRITE)
                | right(libc::PF_X, libc::PROT_EXEC);
            *places.next()? = Some(Segment { start, length: end - start, offset, rights });
        }
        if let Some(header) = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO) {
            let (start, end) = (at(header.p_vaddr)?, at(header.p_vaddr + header.p_memsz)?);
            let (start, end) = (start / page * page, end / page * page);
            layout.read_only = Some((start, end.saturating_sub(start))).filter(|(_, length)| *length > 0);
        }
        Some(layout)
    }
}

/// Maps what is never written from `file`, over what is there.
fn map_again(segment: Segment, file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE;
    // SAFETY: at an address of the kernel's choice.
    let made = unsafe {
        libc::mmap(std::ptr::null_mut(), segment.length, segment.rights, flags, file.as_raw_fd(), segment.offset)
    };
    move_over(made, segment)
}

/// Puts memory of no file in the place of what may have been written, with the same content.
fn take_out_of_file(segment: Segment) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: at an address of the kernel's choice.
    let made = unsafe { libc::mmap(std::ptr::null_mut(), segment.length, segment.rights, flags, -1, 0) };
    if made != libc::MAP_FAILED {
        let from = start_of(segment.start).cast::<MaybeUninit<u8>>().cast_const();
        // SAFETY: both are mapped, as long as said, and apart. What is copied may be anybody's, who is not at work now:
        // there is one thread, and it writes to nothing but its stack until the copy is in place.
        unsafe { std::ptr::copy_nonoverlapping(from, made.cast(), segment.length) };
    }
    move_over(made, segment)
}

fn move_over(made: *mut libc::c_void, segment: Segment) -> io::Result<()> {
    if made == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the same bytes with the same rights come where the segment is, in one step for whoever looks.
    let moved = unsafe { libc::mremap(made, segment.length, segment.length, flags, start_of(segment.start)) };
    if moved == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // SAFETY: nobody but this function knows it.
        unsafe { libc::munmap(made, segment.length) };
        return Err(error);
    }
    Ok(())
}

/// The addresses that the kernel knows of the caller (proc_pid_stat(5), brk(2)).
fn memory_map() -> io::Result<MemoryMap> {
    let stat = crate::proc::Stat::of(std::process::id().cast_signed())?;
    let field = |number: usize| stat.number(number).unwrap_or(0);
    // SAFETY: asks where the end of the heap is.
    let brk = unsafe { libc::syscall(libc::SYS_brk, 0) };
    Ok(MemoryMap {
        start_code: field(26),
        end_code: field(27),
        start_stack: field(28),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk: brk.cast_unsigned(),
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
        ..MemoryMap::default()
    })
}

fn start_of(address: usize) -> *mut libc::c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{self, Change, attribute};
    use crate::process;

    /// Written before and read after: it moves with its page.
    static WRITTEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(7);

    fn replace_and_look() -> io::Result<bool> {
        use std::sync::atomic::Ordering::Relaxed;
        WRITTEN.store(8, Relaxed);
        let copy = mount::clone_tree(rustix::fs::CWD, std::path::Path::new("/proc/self/exe"), false)?;
        mount::set_attributes(&copy, false, Change { set: attribute::READ_ONLY, ..Change::default() })?;
        replace_file(&File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?)?;
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let flags = rustix::fs::statvfs("/proc/self/exe")?.f_flag;
        let read_only = flags.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        // By the path of before, nothing is mapped any more.
        let name = std::env::current_exe()?;
        Ok(read_only && WRITTEN.load(Relaxed) == 8 && !maps.contains("target/") && name.as_os_str() == "/")
    }

    #[test]
    fn a_program_goes_on_from_another_path_where_it_cannot_be_written() {
        const ALONE: &str = "TEU_TEST_ALONE";
        const NAME: &str = "program::tests::a_program_goes_on_from_another_path_where_it_cannot_be_written";
        if std::env::var_os(ALONE).is_none() {
            // In a process without other tests: one that panics maps the program's file to tell where.
            let mut own = std::process::Command::new(std::env::current_exe().expect("this program"));
            let ran = own.args(["--exact", NAME]).env(ALONE, "1").output().expect("ran");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
            return;
        }
        let story =
            || replace_and_look().map_or_else(|error| error.raw_os_error().unwrap_or(1), |good| i32::from(!good));
        let child = process::spawn(0, None, story).expect("a child");
        assert_eq!(process::wait(&child.pidfd).expect("its end").code, 0);
    }
}
