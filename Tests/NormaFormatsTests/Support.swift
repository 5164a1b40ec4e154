import NormaFormats
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A temporary folder, removed with its files when the test ends.
final class Folder {
  let path: String

  init() throws {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array((parent + "/norma-formats-XXXXXX").utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp failed with \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { remove(path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  func write(_ bytes: [UInt8], _ name: String) throws -> String {
    let descriptor = open(self(name), O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    defer { close(descriptor) }
    guard descriptor >= 0, writeAll(descriptor, bytes) == bytes.count else {
      throw TestFailure("cannot write \(name)")
    }
    return self(name)
  }

  func makeFolder(_ name: String) throws -> String {
    guard mkdir(self(name), 0o755) == 0 else { throw TestFailure("mkdir failed with \(errno)") }
    return self(name)
  }

  func bytes(_ name: String) throws -> [UInt8] {
    let descriptor = open(self(name), O_RDONLY)
    defer { close(descriptor) }
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      guard count >= 0 else { throw TestFailure("cannot read \(name)") }
      if count == 0 { return result }
      result += buffer[..<count]
    }
  }

  /// All names, hidden ones included.
  var names: [String] { list(path) }

  private func list(_ path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let offset = MemoryLayout<dirent>.offset(of: \.d_name)!
      let name = String(cString: (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: CChar.self))
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  private func remove(_ path: String) {
    for name in list(path) where unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
    rmdir(path)
  }
}

private func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Int {
  write(descriptor, bytes, bytes.count)
}

struct TestFailure: Error {
  let text: String
  init(_ text: String) { self.text = text }
}

/// The error that `body` throws, which must be a `FormatError`.
func failure(
  _ body: () throws -> some Any, sourceLocation: SourceLocation = #_sourceLocation
) -> String {
  let error = #expect(throws: FormatError.self, sourceLocation: sourceLocation) { _ = try body() }
  return error?.description ?? ""
}

/// A stack whose values all differ and are stored exactly by `format`.
func sample(
  pages: Int = 1, channels: Int = 1, height: Int = 5, width: Int = 7, format: SampleFormat = .uint8
) throws -> ImageStack {
  let count = pages * channels * height * width
  let values = (0..<count).map { index -> Float in
    let mixed = Float((index * 37 + index / 7) % 251)
    return switch format {
    case .uint8: mixed
    case .int8: mixed - 125
    case .uint16: mixed * 261
    case .int16: mixed * 261 - 32_768
    case .uint32: mixed * 65_536 * 256
    case .int32: (mixed - 125) * 65_536 * 256
    case .float32, .float64: (mixed - 100) * 0.37
    }
  }
  return try ImageStack(
    pages: pages, channels: channels, height: height, width: width, format: format, values: values)
}

extension ImageStack {
  /// A rectangle of one image.
  func region(page: Int, rows: Range<Int>, columns: Range<Int>) throws -> ImageStack {
    var values: [Float] = []
    for c in 0..<channels {
      for y in rows { values += columns.map { self[page, c, y, $0] } }
    }
    return try ImageStack(
      pages: 1, channels: channels, height: rows.count, width: columns.count, format: format, values: values)
  }
}

/// Reads rectangles of the pages, forwards and back, and compares them with the parts of the pages.
func expectRegions(
  of path: String, in stack: ImageStack, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let reader = try TIFFReader(path)
  func ranges(_ extent: Int) -> [Range<Int>] {
    [0..<extent, 0..<1, extent - 1..<extent, extent / 3..<extent / 2 + 1, extent / 2..<extent]
  }
  for page in (0..<stack.pages).reversed() {
    for rows in ranges(stack.height) {
      #expect(
        try reader.readRegion(page: page, rows: rows)
          == stack.region(page: page, rows: rows, columns: 0..<stack.width), sourceLocation: sourceLocation)
      for columns in ranges(stack.width) {
        #expect(
          try reader.readRegion(page: page, rows: rows, columns: columns)
            == stack.region(page: page, rows: rows, columns: columns), sourceLocation: sourceLocation)
      }
    }
  }
}
