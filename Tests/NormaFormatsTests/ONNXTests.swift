import NormaFormats
import Testing

/// The fields of a protobuf message, as many as this format has.
private struct Message {
  enum Field: Equatable {
    case number(UInt64)
    case bytes([UInt8])
    case fixed(UInt32)
  }

  private(set) var fields: [(Int, Field)] = []

  init(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    func varint() throws -> UInt64 {
      var (value, shift): (UInt64, UInt64) = (0, 0)
      while let byte = rest.popFirst() {
        value |= UInt64(byte & 0x7F) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
      throw Failure()
    }
    func take(_ count: Int) throws -> [UInt8] {
      guard rest.count >= count else { throw Failure() }
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }
    while !rest.isEmpty {
      let tag = Int(try varint())
      switch tag & 7 {
      case 0: fields.append((tag >> 3, .number(try varint())))
      case 2: fields.append((tag >> 3, .bytes(try take(Int(varint())))))
      case 5:
        fields.append((tag >> 3, .fixed(try take(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })))
      default: throw Failure()
      }
    }
  }

  struct Failure: Error {}

  func messages(_ field: Int) throws -> [Message] { try bytes(field).map { try Message($0) } }
  func bytes(_ field: Int) -> [[UInt8]] {
    fields.compactMap { if $0.0 == field, case .bytes(let bytes) = $0.1 { bytes } else { nil } }
  }
  func texts(_ field: Int) -> [String] { bytes(field).map { String(decoding: $0, as: UTF8.self) } }
  func numbers(_ field: Int) -> [Int] {
    fields.compactMap {
      if $0.0 == field, case .number(let number) = $0.1 { Int(Int64(bitPattern: number)) } else { nil }
    }
  }
}

@Suite struct ONNXTests {
  private var graph: ONNX {
    var graph = ONNX(name: "net")
    graph.inputs = [.init(name: "input", type: .f32, shape: [.named("batch"), .fixed(3), .unknown])]
    graph.outputs = [.init(name: "y", type: .f64, shape: [.fixed(7)])]
    graph.constants = [.init(name: "conv.weight", type: .i64, shape: [2, 1]) { Array(0..<16) }]
    graph.nodes = [
      .init(
        "Conv", ["input", "", "conv.weight"], ["y"],
        [("pads", .ints([1, -2])), ("group", .int(300)), ("alpha", .float(0.5)), ("mode", .string("nearest"))])
    ]
    graph.metadata = ["norm": "batch"]
    return graph
  }

  @Test func theFileHoldsWhatTheGraphHas() throws {
    let folder = try Folder()
    let count = try graph.write(to: folder("g.onnx"))
    let bytes = try folder.bytes("g.onnx")
    #expect(bytes.count == count)
    let model = try Message(bytes)
    #expect(model.numbers(1) == [10])
    #expect(model.texts(2) == ["norma"])
    #expect(try model.messages(8).map { $0.numbers(2) } == [[21]])
    #expect(try model.messages(14).map { [$0.texts(1), $0.texts(2)] } == [[["norm"], ["batch"]]])
    let graph = try model.messages(7)[0]
    #expect(graph.texts(2) == ["net"])

    let node = try graph.messages(1)[0]
    #expect(node.texts(1) == ["input", "", "conv.weight"])
    #expect(node.texts(2) == ["y"])
    #expect(node.texts(4) == ["Conv"])
    let attributes = try node.messages(5)
    #expect(attributes.flatMap { $0.texts(1) } == ["pads", "group", "alpha", "mode"])
    #expect(attributes.flatMap { $0.numbers(20) } == [7, 2, 1, 3])
    #expect(attributes[0].numbers(8) == [1, -2])
    #expect(attributes[1].numbers(3) == [300])
    #expect(attributes[2].fields.contains { $0.0 == 2 && $0.1 == .fixed(Float(0.5).bitPattern) })
    #expect(attributes[3].texts(4) == ["nearest"])

    let constant = try graph.messages(5)[0]
    #expect(constant.numbers(1) == [2, 1])
    #expect(constant.numbers(2) == [7])
    #expect(constant.texts(8) == ["conv.weight"])
    #expect(constant.bytes(9) == [Array(0..<16)])

    let input = try graph.messages(11)[0]
    #expect(input.texts(1) == ["input"])
    let type = try input.messages(2)[0].messages(1)[0]
    #expect(type.numbers(1) == [1])
    let extents = try type.messages(2)[0].messages(1)
    #expect(extents.map { $0.texts(2) } == [["batch"], [], []])
    #expect(extents.map { $0.numbers(1) } == [[], [3], []])
    #expect(try graph.messages(12)[0].messages(2)[0].messages(1)[0].numbers(1) == [11])
  }

  @Test func twoGigabytesAreTooMany() throws {
    let folder = try Folder()
    var graph = graph
    graph.constants.append(
      .init(name: "large", type: .f32, shape: [1 << 14, 1 << 15]) {
        Issue.record("nothing is to be made of a file that cannot be")
        return []
      })
    let error = #expect(throws: FormatError.self) { try graph.write(to: folder("large.onnx")) }
    #expect(error?.description.contains("at most 2147483647 bytes") == true)
    #expect(folder.names.isEmpty)
  }
}
