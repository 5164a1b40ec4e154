#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }

/// The name of this machine, as a part of file names.
func hostName() -> String {
  var name = [UInt8](repeating: 0, count: 256)
  // A longer name is cut, and the last byte then ends it.
  _ = name.withUnsafeMutableBytes { gethostname($0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count - 1) }
  let text = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
  return text.isEmpty ? "localhost" : String(text.map { $0 == "/" ? "-" : $0 })
}

private func retrying(_ call: () -> Int) -> Int {
  while true {
    let result = call()
    if result >= 0 || errno != EINTR { return result }
  }
}

package enum FileKind { case regular, folder, other }

package func fileKind(_ path: String) throws -> FileKind {
  var status = stat()
  guard stat(path, &status) == 0 else { throw FormatError.reading(path, errorText(errno)) }
  return kind(of: status)
}

private func kind(of status: stat) -> FileKind {
  switch status.st_mode & mode_t(S_IFMT) {
  case mode_t(S_IFREG): .regular
  case mode_t(S_IFDIR): .folder
  default: .other
  }
}

/// A regular file opened for reading at any offset.
final class InputFile {
  let path: String
  let descriptor: Int32
  let length: Int

  init(_ path: String) throws {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FormatError.reading(path, errorText(errno)) }
    var status = stat()
    let result = fstat(descriptor, &status)
    let code = errno
    guard result == 0, kind(of: status) == .regular else {
      close(descriptor)
      if result != 0 { throw FormatError.reading(path, errorText(code)) }
      throw FormatError.reading(
        path, kind(of: status) == .folder ? errorText(EISDIR) : "it is not a regular file")
    }
    self.path = path
    self.descriptor = descriptor
    self.length = Int(status.st_size)
  }

  deinit { close(descriptor) }

  /// Fills `target` from `offset` on; throws where the file ends before that.
  func read(at offset: Int, into target: UnsafeMutableRawBufferPointer) throws {
    var done = 0
    while done < target.count {
      let count = retrying {
        pread(descriptor, target.baseAddress! + done, target.count - done, off_t(offset + done))
      }
      if count < 0 { throw FormatError.reading(path, errorText(errno)) }
      if count == 0 {
        throw FormatError.reading(
          path,
          "the file is truncated: bytes \(offset)..<\(offset + target.count) are needed, it ends at "
            + "\(offset + done); copy it again from its source")
      }
      done += count
    }
  }

  func bytes(at offset: Int, count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      try read(
        at: offset,
        into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]))
      initialized = count
    }
  }
}

/// Writes all bytes, in as many calls as it takes.
private func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, path: String) throws {
  var done = 0
  while done < bytes.count {
    let count = retrying { write(descriptor, bytes.baseAddress! + done, bytes.count - done) }
    if count <= 0 { throw FormatError.writing(path, errorText(errno)) }
    done += count
  }
}

/// Makes what was written durable; the error's code, or nil.
private func synchronize(_ descriptor: Int32) -> Int32? {
  // Some file systems know no fsync and say EINVAL; others report a full disk only here.
  fsync(descriptor) != 0 && errno != EINVAL ? errno : nil
}

/// A file that is written under a temporary name beside its target and renamed when it is complete.
final class OutputFile {
  let path: String
  let descriptor: Int32
  private let scratch: String
  private let isSibling: Bool
  private var isOpen = true

  /// With `device`, writes to that existing file instead of a sibling, and never removes it.
  init(_ path: String, device: String? = nil) throws {
    if path.isEmpty { throw FormatError.writing(path, errorText(ENOENT)) }
    var status = stat()
    if stat(path, &status) == 0, kind(of: status) != .regular {
      // A device or pipe would be replaced by a file, not written to.
      throw FormatError.writing(
        path, kind(of: status) == .folder ? errorText(EISDIR) : "it is not a regular file; give the name of a new one")
    }
    let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
    var generator = SystemRandomNumberGenerator()
    while true {
      let name = "\(folder).norma-\(String(generator.next(), radix: 16)).part"
      let scratch = device ?? name
      let flags = device == nil ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC
      let descriptor = open(scratch, flags, 0o666)
      if descriptor >= 0 {
        self.path = path
        self.descriptor = descriptor
        self.scratch = scratch
        self.isSibling = device == nil
        return
      }
      let code = errno
      if code != EEXIST || device != nil { throw FormatError.writing(path, errorText(code)) }
    }
  }

  deinit { discard() }

  func write(_ bytes: UnsafeRawBufferPointer) throws { try writeAll(bytes, to: descriptor, path: path) }

  /// Makes the bytes durable and moves the file to its name; on failure nothing remains.
  func commit() throws {
    if let code = synchronize(descriptor) {
      discard()
      throw FormatError.writing(path, errorText(code))
    }
    if rename(scratch, path) != 0 {
      let code = errno
      discard()
      throw FormatError.writing(path, errorText(code))
    }
    isOpen = false
    close(descriptor)
    // The new name too is to outlive a power failure; where a folder cannot be synchronized, there is nothing to do about it.
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let opened = open(folder, O_RDONLY | O_CLOEXEC)
    if opened >= 0 {
      _ = synchronize(opened)
      close(opened)
    }
  }

  func discard() {
    guard isOpen else { return }
    isOpen = false
    close(descriptor)
    if isSibling { unlink(scratch) }
  }
}

/// A new file that grows while others read it.
final class GrowingFile {
  let path: String
  private var descriptor: Int32?
  private var length = 0

  /// Nil where there is a file of this name.
  init?(_ path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o666)
    if descriptor < 0 {
      let code = errno
      if code == EEXIST { return nil }
      throw FormatError.writing(path, errorText(code))
    }
    self.path = path
    self.descriptor = descriptor
  }

  deinit { if let descriptor { close(descriptor) } }

  /// Appends all bytes; where it throws, none, as readers would take what comes next for the rest of a part.
  func append(_ bytes: UnsafeRawBufferPointer) throws {
    guard let descriptor else { throw FormatError.writing(path, "it has been closed; open another one to go on") }
    do {
      try writeAll(bytes, to: descriptor, path: path)
      length += bytes.count
    } catch {
      _ = ftruncate(descriptor, off_t(length))
      throw error
    }
  }

  /// Makes the bytes durable and takes no more.
  func finish() throws {
    guard let descriptor else { return }
    self.descriptor = nil
    defer { close(descriptor) }
    if let code = synchronize(descriptor) { throw FormatError.writing(path, errorText(code)) }
  }
}

/// A folder that only one process at a time may take for its own, or several that share it, for as long as this lives.
public final class FolderLock {
  private let descriptor: Int32

  /// - Parameter isShared: whether others may share the folder, with locks of the same kind.
  /// - Throws: ``FormatError`` where another process has taken the folder. Where the file system knows no locks, there is none.
  public init(_ path: String, isShared: Bool = false) throws {
    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FormatError.folder(path, errorText(errno)) }
    if flock(descriptor, (isShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0, errno == EWOULDBLOCK {
      let others =
        !isShared && flock(descriptor, LOCK_SH | LOCK_NB) == 0 ? "processes that share it are" : "another process is"
      close(descriptor)
      throw FormatError.writing(
        path,
        "\(others) writing into this folder\(isShared ? ", without sharing it" : ""); wait for the end or choose another one"
      )
    }
  }

  deinit { close(descriptor) }
}

/// The names in a folder, in no particular order, without those that start with a dot.
package func folderNames(_ path: String) throws -> [String] {
  guard let folder = opendir(path) else { throw FormatError.reading(path, errorText(errno)) }
  defer { closedir(folder) }
  var names: [String] = []
  let nameOffset = MemoryLayout<dirent>.offset(of: \.d_name)!
  while true {
    errno = 0
    guard let entry = readdir(folder) else {
      if errno != 0 { throw FormatError.reading(path, errorText(errno)) }
      return names
    }
    // The record can be shorter than the declared array, so the name is read in place.
    let name = (UnsafeRawPointer(entry) + nameOffset).assumingMemoryBound(to: CChar.self)
    if name.pointee != CChar(UInt8(ascii: ".")) { names.append(String(cString: name)) }
  }
}

/// Throws where `count` Floats are more than the memory of this machine or than the process may have.
func checkMemory(floats count: Int?, path: String, advice: String) throws {
  let pages = sysconf(Int32(_SC_PHYS_PAGES))
  let pageSize = sysconf(Int32(_SC_PAGESIZE))
  let memory = pages > 0 && pageSize > 0 ? (product(pages, pageSize) ?? Int.max) : Int.max
  let bytes = count.flatMap { product($0, MemoryLayout<Float>.size) }
  guard let bytes, bytes <= memory else {
    throw FormatError.reading(
      path,
      "the decoded images need \(count.map { "\($0) values of 4 bytes" } ?? "more values than can be counted")"
        + ", this machine has \(memory) bytes of memory; \(advice)")
  }
  guard isThereMemory(bytes: bytes) else {
    throw FormatError.reading(
      path, "the decoded images need \(bytes) bytes, which this process is not given (see 'ulimit -v'); \(advice)")
  }
}

/// Whether the system would give so much memory now: an allocation that it refuses ends the process.
package func isThereMemory(bytes: Int) -> Bool {
  // Small ones come from memory that malloc holds already.
  if bytes < 1 << 20 { return true }
  // Not malloc, as compilers leave out a pair of it and free.
  let address = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0)
  guard let address, address != MAP_FAILED else { return false }
  munmap(address, bytes)
  return true
}
