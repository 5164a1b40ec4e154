#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Files in which Linux tells about a process and the machine.
enum SystemFile {
  /// What stands after the colon of the first line that begins with `key`, or nil.
  static func value(_ key: String, in path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 1024)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      guard text.hasPrefix(key), let colon = text.firstIndex(of: ":") else { continue }
      let value = text[text.index(after: colon)...]
      return String(value.drop(while: \.isWhitespace).prefix { $0 != "\n" })
    }
    return nil
  }
}

/// The processor of this machine, as far as the system tells.
enum Processor {
  static let name = SystemFile.value("model name", in: "/proc/cpuinfo") ?? "unknown"
}
