/// Arrays of any rank in IDX files, the format of MNIST, packed by gzip or not.
///
/// The bytes 0, 0, type, rank, then the extents as big-endian 32-bit numbers, then the elements, big-endian and the last
/// extent's side by side (LeCun, Cortes and Burges, "The MNIST database of handwritten digits").
public struct IDXArray: Sendable, Equatable {
  /// The extents, the slowest first.
  public let shape: [Int]
  /// Any but uint16 and uint32, which the format does not know.
  public let format: SampleFormat
  /// The elements as stored: big-endian.
  public let bytes: [UInt8]

  /// The number of elements.
  public var count: Int { bytes.count / format.bytesPerSample }

  /// Makes an array of stored elements; throws `FormatError` where the format does not know the type or the sizes do not match.
  public init(shape: [Int], format: SampleFormat, bytes: [UInt8]) throws {
    guard IDX.types.values.contains(format) else {
      throw FormatError.array("the format knows no \(format.rawValue); use int32 or float32")
    }
    let count = shape.reduce(Optional(format.bytesPerSample)) { total, extent in total.flatMap { product($0, extent) } }
    guard count == bytes.count, shape.count < 256, shape.allSatisfy({ UInt32(exactly: $0) != nil }) else {
      throw FormatError.array("the shape \(shape) of \(format.rawValue) does not match \(bytes.count) bytes")
    }
    self.init(known: shape, format: format, bytes: bytes)
  }

  init(known shape: [Int], format: SampleFormat, bytes: [UInt8]) {
    self.shape = shape
    self.format = format
    self.bytes = bytes
  }

  /// The elements as numbers; integers beyond ±2^24 and doubles are rounded to the nearest Float.
  public var values: [Float] {
    let count = count
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      bytes.withUnsafeBytes { bytes in
        guard let raw = bytes.baseAddress, let base = buffer.baseAddress, count > 0 else { return }
        scatter(
          format, raw, Block(width: count, height: 1, rowSamples: count),
          PageTarget(base: base, width: count, height: 1),
          swapped: UInt16(bigEndian: 1) != 1)
        initialized = count
      }
    }
  }
}

/// Reads and writes IDX files.
public enum IDX {
  static let types: [UInt8: SampleFormat] = [
    0x08: .uint8, 0x09: .int8, 0x0B: .int16, 0x0C: .int32, 0x0D: .float32, 0x0E: .float64,
  ]

  /// Reads a file, unpacking it where it begins as gzip's do.
  ///
  /// Throws `FormatError` naming what is wrong. It takes no more memory than the header declares, which is checked against
  /// what a file of that length can hold.
  public static func read(_ path: String) throws -> IDXArray {
    let stream = try ByteStream(path)
    let magic = try stream.bytes(4)
    guard magic.count == 4, magic[0] == 0, magic[1] == 0, let format = types[magic[2]] else {
      let found = magic.isEmpty ? "it is empty" : "it begins with the bytes \(hex(magic))"
      throw FormatError.reading(
        path, "\(found); an IDX file begins with 00 00, a type from 08 to 0e and the number of dimensions")
    }
    let header = try stream.bytes(4 * Int(magic[3]))
    guard header.count == 4 * Int(magic[3]) else { throw truncated(path, needed: 4 * Int(magic[3]), header.count) }
    let shape = stride(from: 0, to: header.count, by: 4).map { start in
      header[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
    }
    let size = shape.reduce(Optional(format.bytesPerSample)) { total, extent in total.flatMap { product($0, extent) } }
    let words = shape.map(String.init).joined(separator: " × ")
    guard let size, size <= stream.greatestLength else {
      throw FormatError.reading(
        path,
        "it declares \(words) elements of \(format.rawValue), more than a file of its length can hold; copy it again")
    }
    guard isThereMemory(bytes: size) else {
      throw FormatError.reading(path, "its \(words) elements need \(size) bytes, which this process is not given")
    }
    let bytes = try stream.bytes(size)
    guard bytes.count == size else { throw truncated(path, needed: size, bytes.count) }
    // The end of a packed file holds its checksum.
    guard try stream.bytes(1).isEmpty else {
      throw FormatError.reading(path, "there is more in it than the declared \(words) elements of \(format.rawValue)")
    }
    return IDXArray(known: shape, format: format, bytes: bytes)
  }

  private static func truncated(_ path: String, needed: Int, _ found: Int) -> FormatError {
    .reading(
      path, "the file is truncated: \(needed) bytes are needed, \(found) are there; copy it again from its source")
  }

  /// Writes an array, packed by gzip where the name ends in .gz.
  ///
  /// Throws `FormatError`, and then leaves the file of that name as it was.
  public static func write(_ array: IDXArray, to path: String) throws {
    let output = try OutputFile(path)
    defer { output.discard() }
    let type = types.first { $0.value == array.format }!.key
    var bytes: [UInt8] = [0, 0, type, UInt8(array.shape.count)]
    for extent in array.shape { withUnsafeBytes(of: UInt32(extent).bigEndian) { bytes += $0 } }
    bytes += array.bytes
    if path.hasSuffix(".gz") {
      guard bytes.count < 1 << 32, let packed = Gzip.pack(bytes) else {
        throw FormatError.writing(path, "the array is too large to be packed at once; write it without .gz")
      }
      bytes = packed
    }
    try bytes.withUnsafeBytes { try output.write($0) }
    try output.commit()
  }
}
