import NormaFormats
import NormaNN
import NormaTensor

extension Safetensors.ElementType {
  /// The tensors' name for the same type.
  public var dtype: DType {
    switch self {
    case .bool: .bool
    case .u8: .uint8
    case .i8: .int8
    case .i16: .int16
    case .i32: .int32
    case .i64: .int64
    case .f16: .float16
    case .bf16: .bfloat16
    case .f32: .float32
    case .f64: .float64
    }
  }

  /// The file's name for the same type.
  public init(_ dtype: DType) {
    self = Self.allCases.first { $0.dtype == dtype } ?? .f32
  }
}

extension Safetensors.Entry {
  /// A tensor under the given name, in its own element type.
  public init(_ name: String, _ tensor: Tensor) {
    self.init(name: name, type: .init(tensor.dtype), shape: tensor.shape) { try tensor.storedBytes() }
  }
}

extension SafetensorsReader {
  /// One of the file's tensors, in the element type that it is stored in.
  /// - Throws: `FormatError` where the file has been cut off meanwhile.
  public func tensor(_ entry: Entry) throws -> Tensor {
    let bytes = try bytes(of: entry)
    let tensor = try Tensor.empty(entry.shape, dtype: entry.type.dtype)
    if !bytes.isEmpty {
      try bytes.withUnsafeBytes { source in
        try tensor.withDataPointer { $0.copyMemory(from: source.baseAddress!, byteCount: source.count) }
      }
    }
    return tensor
  }

  /// All tensors whose names begin with the prefix, by the rest of their names.
  public func tensors(prefix: String = "") throws -> [String: Tensor] {
    var found: [String: Tensor] = [:]
    for entry in entries where entry.name.hasPrefix(prefix) {
      found[String(entry.name.dropFirst(prefix.count))] = try tensor(entry)
    }
    return found
  }
}

extension Module {
  /// The state as entries of a file, each key with the prefix before it. The elements are read when they are written.
  public func weightEntries(prefix: String = "") -> [Safetensors.Entry] {
    stateDictionary().map { .init(prefix + $0.key, $0.value) }
  }

  /// Writes parameters and buffers under PyTorch's keys, so that `load_state_dict` takes them.
  /// - Parameter metadata: free text by key, kept in the file's header.
  /// - Throws: `FormatError` when the file cannot be written; then one that was there before is as it was.
  public func writeWeights(to path: String, metadata: [String: String] = [:]) throws {
    try Safetensors.write(weightEntries(), metadata: metadata, to: path)
  }

  /// Copies the tensors of a safetensors file into the parameters and buffers, converted to their types.
  /// - Throws: `FormatError` for a file that cannot be read, `StateError` naming all missing, unexpected and misshaped
  ///   entries; then nothing was copied.
  public func loadWeights(from path: String) throws { try loadWeights(from: SafetensorsReader(path)) }

  /// ``loadWeights(from:)-(String)`` of an open file.
  /// - Parameter prefix: only tensors whose names begin with it are taken, without it.
  public func loadWeights(from file: SafetensorsReader, prefix: String = "") throws {
    try load(stateDictionary: file.tensors(prefix: prefix))
  }
}

extension Tensor {
  func storedBytes() throws -> [UInt8] {
    let plain = try detached().to(device: .cpu).contiguous()
    let size = plain.count * plain.dtype.size
    guard size > 0 else { return [] }
    return try plain.withDataPointer { Array(UnsafeRawBufferPointer(start: $0, count: size)) }
  }
}
