import CZlib

/// The bytes of a file from its start on; what gzip packed (RFC 1952) is unpacked on the way.
///
/// Nothing is held but a piece of the file, so that a small file that unpacks to much takes no more than is asked for.
final class ByteStream {
  let isPacked: Bool
  private let file: InputFile
  private var offset = 0
  private var isAtEnd = false
  // zlib keeps the address of its state.
  private let state: UnsafeMutablePointer<z_stream>
  private let piece: UnsafeMutableRawBufferPointer

  init(_ path: String) throws {
    file = try InputFile(path)
    isPacked = try Gzip.isMagic(file.bytes(at: 0, count: min(2, file.length)))
    state = .allocate(capacity: 1)
    state.initialize(to: z_stream())
    piece = .allocate(byteCount: isPacked ? 1 << 16 : 0, alignment: 16)
    if isPacked, inflateInit2_(state, Gzip.window, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) != Z_OK {
      throw FormatError.reading(path, "zlib has no memory")
    }
  }

  deinit {
    if isPacked { inflateEnd(state) }
    state.deallocate()
    piece.deallocate()
  }

  /// The most bytes that the file can hold: deflate makes at most 1,032 of one.
  var greatestLength: Int { isPacked ? product(file.length, 1032) ?? Int.max : file.length }

  /// Fills `target`, or as much of it as there is left, and returns the number of bytes.
  func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    isPacked ? try unpack(into: target) : try copy(into: target)
  }

  /// So many bytes, or what is left of them.
  func bytes(_ count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = try read(
        into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]))
    }
  }

  private func copy(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    let count = min(target.count, file.length - offset)
    try file.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: target[..<count]))
    offset += count
    return count
  }

  private func unpack(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    var done = 0
    while done < target.count, !isAtEnd {
      if state.pointee.avail_in == 0 { try fetch() }
      let room = min(target.count - done, 1 << 30)
      state.pointee.next_out = target.baseAddress!.assumingMemoryBound(to: UInt8.self) + done
      state.pointee.avail_out = uInt(room)
      let result = inflate(state, Z_NO_FLUSH)
      done += room - Int(state.pointee.avail_out)
      switch result {
      case Z_STREAM_END:
        // Files may be several packed ones behind one another.
        if state.pointee.avail_in == 0, offset == file.length { isAtEnd = true } else { inflateReset(state) }
      case Z_OK: break
      case Z_BUF_ERROR:
        throw FormatError.reading(file.path, "the packed file is truncated; copy it again from its source")
      default:
        let reason = state.pointee.msg.map { String(cString: $0) } ?? "error \(result)"
        throw FormatError.reading(
          file.path, "the packed file is corrupt (zlib: \(reason)); copy it again from its source")
      }
    }
    return done
  }

  private func fetch() throws {
    let count = min(piece.count, file.length - offset)
    try file.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: piece[..<count]))
    offset += count
    state.pointee.next_in = piece.baseAddress!.assumingMemoryBound(to: UInt8.self)
    state.pointee.avail_in = uInt(count)
  }
}

/// Packs bytes as gzip does (RFC 1952).
enum Gzip {
  /// The largest window, with gzip's frame about it.
  static let window: Int32 = 16 + 15

  static func isMagic(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0x1F, 0x8B]) }

  /// A whole file that holds `bytes`, of which there must be less than 4 GiB; nil where zlib has no memory.
  static func pack(_ bytes: [UInt8]) -> [UInt8]? {
    var state = z_stream()
    guard
      deflateInit2_(
        &state, Z_BEST_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return nil }
    defer { deflateEnd(&state) }
    var input = bytes
    let bound = Int(deflateBound(&state, uLong(bytes.count))) + 18
    return [UInt8](unsafeUninitializedCapacity: bound) { buffer, initialized in
      input.withUnsafeMutableBufferPointer { input in
        state.next_in = input.baseAddress
        state.avail_in = uInt(input.count)
        state.next_out = buffer.baseAddress
        state.avail_out = uInt(bound)
        let result = deflate(&state, Z_FINISH)
        initialized = result == Z_STREAM_END ? bound - Int(state.avail_out) : 0
      }
    }
  }
}
