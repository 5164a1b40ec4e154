#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Writes whole files so that a reader finds the old content or the new, never a part of it.
public enum AtomicFile {
  /// - Throws: ``FormatError`` when the file cannot be written; then the old one is as it was.
  public static func write(_ text: String, to path: String) throws {
    var text = text
    try text.withUTF8 { try write(UnsafeRawBufferPointer($0), to: path) }
  }

  public static func write(_ bytes: UnsafeRawBufferPointer, to path: String) throws {
    let file = try OutputFile(path)
    try file.write(bytes)
    try file.commit()
  }

  /// Whether a file of this name is one that is being written, or was when its process was killed.
  public static func isPart(_ name: String) -> Bool { name.hasPrefix(".norma-") && name.hasSuffix(".part") }
}

/// Folders for results.
public enum Folder {
  /// Makes the folder and those above it where they are missing.
  /// - Throws: ``FormatError`` when one cannot be made or written into.
  public static func make(_ path: String) throws {
    var prefix = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      prefix += (prefix.isEmpty || prefix == "/" ? "" : "/") + part
      if mkdir(prefix, 0o777) != 0, errno != EEXIST {
        let code = errno
        guard code == EROFS || code == EACCES || code == EPERM, exists(prefix) else {
          throw FormatError.folder(path, errorText(code))
        }
      }
    }
    guard try fileKind(path) == .folder else { throw FormatError.folder(path, errorText(ENOTDIR)) }
    guard access(path, W_OK) == 0 else { throw FormatError.folder(path, errorText(errno)) }
  }

  /// Whether there is a folder of this name.
  public static func isFolder(_ path: String) -> Bool { (try? fileKind(path)) == .folder }

  /// Whether both names lead to one file that is there.
  public static func isSameFile(_ a: String, _ b: String) -> Bool {
    var (first, second) = (stat(), stat())
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_ino == second.st_ino
      && first.st_dev == second.st_dev
  }

  /// Whether there is a file or folder of this name.
  public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
}
