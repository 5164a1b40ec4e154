/// A network as an ONNX file holds it, of operator set 21: messages as in onnx/onnx.proto of ONNX 1.16.
public struct ONNX {
  /// Of the standard operators.
  public static let operatorSet = 21
  /// The most bytes that a file may have: protobuf's limit for a message.
  public static let largestFile = 1 << 31 - 1

  public var nodes: [Node] = []
  /// The constants, weights among them.
  public var constants: [Safetensors.Entry] = []
  public var inputs: [Value] = []
  public var outputs: [Value] = []
  /// Free text by key.
  public var metadata: [String: String] = [:]
  /// The name of the graph.
  public var name: String

  public init(name: String) { self.name = name }

  /// One operator with the names of what it takes and gives; an empty name stands for nothing.
  public struct Node {
    public var type: String
    public var inputs: [String]
    public var outputs: [String]
    public var attributes: [(name: String, value: Attribute)]

    public init(_ type: String, _ inputs: [String], _ outputs: [String], _ attributes: [(String, Attribute)] = []) {
      self.type = type
      self.inputs = inputs
      self.outputs = outputs
      self.attributes = attributes.map { (name: $0.0, value: $0.1) }
    }
  }

  public enum Attribute: Equatable, Sendable {
    case int(Int)
    case float(Double)
    case ints([Int])
    case string(String)
  }

  /// An input or output of the network.
  public struct Value {
    public var name: String
    public var type: Safetensors.ElementType
    public var shape: [Extent]

    public init(name: String, type: Safetensors.ElementType, shape: [Extent]) {
      self.name = name
      self.type = type
      self.shape = shape
    }
  }

  public enum Extent: Equatable, Sendable {
    case fixed(Int)
    /// Any, the same wherever the name stands.
    case named(String)
    case unknown
  }

  /// Writes the file atomically; the elements of one constant are in memory at a time.
  /// - Returns: the bytes of the file.
  /// - Throws: ``FormatError`` when it cannot be written or would have more than 2 GB; then a file that was there before is as
  ///   it was.
  @discardableResult
  public func write(to path: String) throws -> Int {
    var graph = ProtobufMessage()
    for node in nodes { graph.add(1, node.message.bytes) }
    graph.add(2, name.utf8)
    // Every constant's elements are the last field of its message, which is the last of what comes before them.
    let constants = constants.map { (entry: $0, head: $0.constantHead) }
    var tail = ProtobufMessage()
    for input in inputs { tail.add(11, input.message.bytes) }
    for output in outputs { tail.add(12, output.message.bytes) }
    let count =
      graph.bytes.count + tail.bytes.count + constants.reduce(0) { $0 + $1.head.count + $1.entry.byteCount }

    var head = ProtobufMessage()
    head.add(1, 10)  // The version of the format that came with the operator set.
    head.add(2, "norma".utf8)
    var operators = ProtobufMessage()
    operators.add(2, Self.operatorSet)
    head.add(8, operators.bytes)
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
      var pair = ProtobufMessage()
      pair.add(1, key.utf8)
      pair.add(2, value.utf8)
      head.add(14, pair.bytes)
    }
    head.begin(7, count: count)
    let total = head.bytes.count + count
    guard total <= Self.largestFile else {
      throw FormatError.writing(
        path,
        "an ONNX file has at most \(Self.largestFile) bytes, this one would have \(total); export a smaller network")
    }

    let file = try OutputFile(path)
    try (head.bytes + graph.bytes).withUnsafeBytes { try file.write($0) }
    for (entry, head) in constants {
      try head.withUnsafeBytes { try file.write($0) }
      try entry.checkedBytes().withUnsafeBytes { try file.write($0) }
    }
    try tail.bytes.withUnsafeBytes { try file.write($0) }
    try file.commit()
    return total
  }
}

extension Safetensors.Entry {
  /// The field of the graph up to the elements.
  fileprivate var constantHead: [UInt8] {
    var tensor = ProtobufMessage()
    for extent in shape { tensor.add(1, extent) }
    tensor.add(2, type.onnxCode)
    tensor.add(8, name.utf8)
    tensor.begin(9, count: byteCount)
    var field = ProtobufMessage()
    field.begin(5, count: tensor.bytes.count + byteCount)
    return field.bytes + tensor.bytes
  }
}

extension ONNX.Node {
  fileprivate var message: ProtobufMessage {
    var node = ProtobufMessage()
    for input in inputs { node.add(1, input.utf8) }
    for output in outputs { node.add(2, output.utf8) }
    // Programs show nodes by name; a node's first result has one that no other has.
    if let output = outputs.first { node.add(3, output.utf8) }
    node.add(4, type.utf8)
    for (name, value) in attributes {
      var attribute = ProtobufMessage()
      attribute.add(1, name.utf8)
      let type: Int
      switch value {
      case .float(let number):
        attribute.add(2, Float(number))
        type = 1
      case .int(let number):
        attribute.add(3, number)
        type = 2
      case .string(let text):
        attribute.add(4, text.utf8)
        type = 3
      case .ints(let numbers):
        for number in numbers { attribute.add(8, number) }
        type = 7
      }
      attribute.add(20, type)
      node.add(5, attribute.bytes)
    }
    return node
  }
}

extension ONNX.Value {
  fileprivate var message: ProtobufMessage {
    var shape = ProtobufMessage()
    for extent in self.shape {
      var dimension = ProtobufMessage()
      switch extent {
      case .fixed(let count): dimension.add(1, count)
      case .named(let name): dimension.add(2, name.utf8)
      case .unknown: break
      }
      shape.add(1, dimension.bytes)
    }
    var tensor = ProtobufMessage()
    tensor.add(1, type.onnxCode)
    tensor.add(2, shape.bytes)
    var kind = ProtobufMessage()
    kind.add(1, tensor.bytes)
    var value = ProtobufMessage()
    value.add(1, name.utf8)
    value.add(2, kind.bytes)
    return value
  }
}

extension Safetensors.ElementType {
  /// ONNX's number for it, of TensorProto.DataType.
  package var onnxCode: Int {
    switch self {
    case .f32: 1
    case .u8: 2
    case .i8: 3
    case .i16: 5
    case .i32: 6
    case .i64: 7
    case .bool: 9
    case .f16: 10
    case .f64: 11
    case .bf16: 16
    }
  }
}
