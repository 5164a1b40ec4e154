import Foundation
import NormaFormats
import Testing

/// As much JSON as a header needs, read strictly.
private struct JSONReader {
  indirect enum Value: Equatable {
    case text(String)
    case number(Int)
    case list([Value])
    case object([Pair])
  }
  struct Pair: Equatable {
    let key: String
    let value: Value
  }
  struct Malformed: Error { let at: Int }

  private var input: [Unicode.Scalar]
  private var place = 0

  static func read(_ text: String) throws -> Value {
    var reader = JSONReader(input: Array(text.unicodeScalars))
    let value = try reader.value()
    guard reader.input[reader.place...].allSatisfy({ $0 == " " }) else { throw Malformed(at: reader.place) }
    return value
  }

  private init(input: [Unicode.Scalar]) { self.input = input }

  private var next: Unicode.Scalar? { place < input.count ? input[place] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) throws {
    guard next == scalar else { throw Malformed(at: place) }
    place += 1
  }

  private mutating func items(
    _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ item: (inout Self) throws -> Void
  ) throws {
    try take(open)
    if next == close { return try take(close) }
    try item(&self)
    while next == "," {
      try take(",")
      try item(&self)
    }
    try take(close)
  }

  private mutating func value() throws -> Value {
    switch next {
    case "\""?: return .text(try text())
    case "["?:
      var list: [Value] = []
      try items("[", "]") { list.append(try $0.value()) }
      return .list(list)
    case "{"?:
      var pairs: [Pair] = []
      try items("{", "}") {
        let key = try $0.text()
        try $0.take(":")
        pairs.append(Pair(key: key, value: try $0.value()))
      }
      return .object(pairs)
    default:
      var digits = ""
      while let digit = next, ("0"..."9").contains(digit) {
        digits.unicodeScalars.append(digit)
        place += 1
      }
      guard let number = Int(digits) else { throw Malformed(at: place) }
      return .number(number)
    }
  }

  private mutating func text() throws -> String {
    try take("\"")
    var result = ""
    while let scalar = next, scalar != "\"" {
      place += 1
      guard scalar.value >= 0x20 else { throw Malformed(at: place) }
      if scalar != "\\" {
        result.unicodeScalars.append(scalar)
        continue
      }
      guard let escape = next else { throw Malformed(at: place) }
      place += 1
      switch escape {
      case "\"", "\\": result.unicodeScalars.append(escape)
      case "u":
        guard place + 4 <= input.count,
          let code = UInt32(String(String.UnicodeScalarView(input[place..<place + 4])), radix: 16),
          let character = Unicode.Scalar(code)
        else { throw Malformed(at: place) }
        place += 4
        result.unicodeScalars.append(character)
      default: throw Malformed(at: place)
      }
    }
    try take("\"")
    return result
  }
}

/// A file as the format's description says: the header's pairs in order, and the data.
private struct ParsedFile {
  struct Tensor: Equatable {
    let name: String
    let dtype: String
    let shape: [Int]
    let bytes: [UInt8]
  }
  var metadata: [String: String] = [:]
  var tensors: [Tensor] = []
  let headerLength: Int

  init(_ file: [UInt8]) throws {
    headerLength = file.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = String(decoding: file[8..<8 + headerLength], as: UTF8.self)
    let data = Array(file[(8 + headerLength)...])
    guard case .object(let pairs) = try JSONReader.read(header) else { throw JSONReader.Malformed(at: 0) }
    var covered = 0
    for pair in pairs {
      guard case .object(let fields) = pair.value else { throw JSONReader.Malformed(at: 0) }
      if pair.key == "__metadata__" {
        for field in fields {
          guard case .text(let text) = field.value else { throw JSONReader.Malformed(at: 0) }
          metadata[field.key] = text
        }
        continue
      }
      let byKey = Dictionary(uniqueKeysWithValues: fields.map { ($0.key, $0.value) })
      guard case .text(let dtype)? = byKey["dtype"], case .list(let shape)? = byKey["shape"],
        case .list(let offsets)? = byKey["data_offsets"], fields.count == 3, offsets.count == 2,
        case .number(let start) = offsets[0], case .number(let end) = offsets[1]
      else { throw JSONReader.Malformed(at: 0) }
      // Without holes, as the description demands.
      guard start == covered, end >= start, end <= data.count else { throw JSONReader.Malformed(at: start) }
      covered = end
      tensors.append(
        Tensor(
          name: pair.key, dtype: dtype,
          shape: shape.map { if case .number(let extent) = $0 { extent } else { -1 } },
          bytes: Array(data[start..<end])))
    }
    guard covered == data.count else { throw JSONReader.Malformed(at: covered) }
  }
}

@Suite struct SafetensorsTests {
  private func write(_ entries: [Safetensors.Entry], metadata: [String: String] = [:]) throws -> [UInt8] {
    let folder = try Folder()
    try Safetensors.write(entries, metadata: metadata, to: folder("w.safetensors"))
    #expect(folder.names.sorted() == ["w.safetensors"], "nothing else remains")
    return try folder.bytes("w.safetensors")
  }

  @Test func tensorsComeBack() throws {
    let floats: [Float] = [1, -2.5, .infinity, 0, 3.25, 1e-30]
    let entries = [
      Safetensors.Entry(
        name: "encoder.0.weight", type: .f32, shape: [2, 3], bytes: { floats.withUnsafeBytes(Array.init) }),
      Safetensors.Entry(name: "scalar", type: .u8, shape: [], bytes: { [200] }),
      Safetensors.Entry(name: "empty", type: .f32, shape: [0, 4], bytes: { [] }),
      Safetensors.Entry(name: "bias", type: .u8, shape: [3], bytes: { [1, 2, 3] }),
    ]
    let file = try ParsedFile(write(entries, metadata: ["norm": "batch", "width": "64"]))
    #expect(file.metadata == ["norm": "batch", "width": "64"])
    let expected = try entries.map {
      ParsedFile.Tensor(name: $0.name, dtype: $0.type.rawValue, shape: $0.shape, bytes: try $0.bytes())
    }
    #expect(file.tensors == expected)
    #expect(file.headerLength % 8 == 0, "the data are aligned")
    // Little-endian IEEE 754, by hand: −2.5 is 0xC0200000.
    #expect(Array(file.tensors[0].bytes[4..<8]) == [0x00, 0x00, 0x20, 0xC0])
  }

  @Test(arguments: 1...9) func headersOfEveryLengthAreAligned(count: Int) throws {
    let name = String(repeating: "n", count: count)
    let bytes = try write([Safetensors.Entry(name: name, type: .u8, shape: [1], bytes: { [7] })])
    let file = try ParsedFile(bytes)
    #expect(file.headerLength % 8 == 0)
    #expect(file.tensors.map(\.name) == [name])
    #expect(bytes.count == 8 + file.headerLength + 1)
    #expect(bytes[8] == UInt8(ascii: "{"), "the description demands the brace first")
  }

  @Test func everyCharacterOfNamesAndMetadata() throws {
    let controls = String(String.UnicodeScalarView((0..<0x20).map { Unicode.Scalar(UInt8($0)) }))
    let texts = ["quote \" backslash \\ slash /", controls, "\u{7F}é∂🧫\u{2028}", ""]
    let metadata = Dictionary(
      uniqueKeysWithValues: texts.enumerated().map { ("\($0.offset)\($0.element)", $0.element) })
    let file = try ParsedFile(
      write(
        texts.enumerated().map {
          .init(name: "\($0.offset)\($0.element)", type: .u8, shape: [1], bytes: { [9] })
        },
        metadata: metadata))
    #expect(file.metadata == metadata)
    #expect(file.tensors.map(\.name) == texts.enumerated().map { "\($0.offset)\($0.element)" })
  }

  @Test func nothingToWrite() throws {
    let file = try ParsedFile(write([]))
    #expect(file.tensors.isEmpty && file.metadata.isEmpty)
  }
}

@Suite struct AtomicFileTests {
  @Test func replacesWholeFiles() throws {
    let folder = try Folder()
    try AtomicFile.write("a long first version\n", to: folder("x"))
    #expect(try folder.bytes("x") == Array("a long first version\n".utf8))
    // A reader that has the old file open keeps the old content.
    let reader = try FileHandle(forReadingFrom: URL(fileURLWithPath: folder("x")))
    try AtomicFile.write("secönd", to: folder("x"))
    #expect(try folder.bytes("x") == Array("secönd".utf8))
    #expect(try reader.readToEnd() == Data("a long first version\n".utf8))
    try AtomicFile.write("", to: folder("x"))
    #expect(try folder.bytes("x") == [])
    try [1, 2, 255].withUnsafeBytes { try AtomicFile.write($0, to: folder("y")) }
    #expect(try folder.bytes("y").count == 3 * MemoryLayout<Int>.size)
    #expect(folder.names.sorted() == ["x", "y"], "no scratch files remain")
  }

  @Test func failuresLeaveNothing() throws {
    let folder = try Folder()
    let missing = folder("no/such/x")
    let error = #expect(throws: FormatError.self) { try AtomicFile.write("text", to: missing) }
    #expect(error?.path == missing)
    #expect(error?.description.contains(missing) == true)
    #expect(throws: FormatError.self) { try AtomicFile.write("text", to: folder.path) }
    #expect(throws: FormatError.self) { try AtomicFile.write("text", to: "") }
    let device = #expect(throws: FormatError.self) { try AtomicFile.write("text", to: "/dev/null") }
    #expect(device?.description.contains("not a regular file") == true)
    #expect(throws: FormatError.self) { try Safetensors.write([], to: missing) }
    #expect(folder.names.sorted() == [])
  }
}

@Suite struct FolderTests {
  @Test func madeWithItsParents() throws {
    let folder = try Folder()
    let path = folder("a/b//c/")
    #expect(!NormaFormats.Folder.exists(path))
    try NormaFormats.Folder.make(path)
    #expect(NormaFormats.Folder.exists(folder("a/b/c")))
    try AtomicFile.write("x", to: folder("a/b/c/x"))
    try NormaFormats.Folder.make(path)
    #expect(NormaFormats.Folder.exists(folder("a/b/c/x")), "making it again changes nothing")
  }

  @Test func filesInTheWayAreNamed() throws {
    let folder = try Folder()
    try AtomicFile.write("x", to: folder("file"))
    for path in [folder("file"), folder("file/below")] {
      let error = #expect(throws: FormatError.self) { try NormaFormats.Folder.make(path) }
      #expect(error?.path == path)
      #expect(error?.description.contains("choose a writable place") == true)
    }
    #expect(folder.names.sorted() == ["file"])
  }
}
