import CTIFF

/// What the tags of one page say about its samples and their strips or tiles.
struct TIFFPage: Equatable {
  enum Coding: Equatable { case samples, bits, palette }

  var width: Int
  var height: Int
  /// Samples per pixel in the file; a palette's one index becomes three channels.
  var stored: Int
  var bits: Int
  var coding: Coding
  var format: SampleFormat
  var isInverted: Bool
  var isSeparate: Bool
  var isTiled: Bool
  var compression: Int
  var blockWidth: Int
  var blockHeight: Int

  var channels: Int { coding == .palette ? 3 : stored }
  var interleaved: Int { isSeparate ? 1 : stored }
  var blocksAcross: Int { (width - 1) / blockWidth + 1 }
  var blocksDown: Int { (height - 1) / blockHeight + 1 }
  var blockCount: Int { blocksAcross * blocksDown * (isSeparate ? stored : 1) }
  /// Decoded bytes of one row of a block.
  var rowBytes: Int { (blockWidth * interleaved * bits - 1) / 8 + 1 }

  /// Decoded bytes of a block; the last strip of a plane may be shorter, tiles are always whole.
  func bytes(ofBlock index: Int) -> Int {
    rowBytes * (isTiled ? blockHeight : rows(ofBlock: index))
  }

  func rows(ofBlock index: Int) -> Int {
    let row = index / blocksAcross % blocksDown
    return min(blockHeight, height - row * blockHeight)
  }

  var layoutDescription: String {
    describeLayout(width: width, height: height, channels: channels, format: format)
  }

  func hasLayout(of other: TIFFPage) -> Bool {
    width == other.width && height == other.height && channels == other.channels
      && format == other.format
  }

  var isDeflated: Bool { [COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE].contains { Int($0) == compression } }

  /// Whether the codec makes up pixels in place of damaged data.
  var fillsGaps: Bool {
    let codecs = [
      COMPRESSION_CCITTRLE, COMPRESSION_CCITTRLEW, COMPRESSION_CCITTFAX3, COMPRESSION_CCITTFAX4,
      COMPRESSION_JPEG, COMPRESSION_OJPEG,
    ]
    return codecs.contains { Int($0) == compression }
  }

  /// Bytes that one stored byte can decode to at the most.
  var largestExpansion: Int {
    switch compression {
    case Int(COMPRESSION_NONE): 1
    case Int(COMPRESSION_PACKBITS): 64
    case Int(COMPRESSION_ADOBE_DEFLATE), Int(COMPRESSION_DEFLATE): 1100
    // The longest string of a 12-bit table has 3,839 bytes.
    case Int(COMPRESSION_LZW): 2800
    default: 100_000
    }
  }
}

extension TIFFPage {
  /// Reads the tags of the selected directory, and throws where the samples are of a kind not supported here.
  init(_ handle: TIFFHandle) throws(TIFFFailure) {
    let width = handle.u32(TIFFTAG_IMAGEWIDTH) ?? 0
    let height = handle.u32(TIFFTAG_IMAGELENGTH) ?? 0
    let stored = handle.u16(TIFFTAG_SAMPLESPERPIXEL) ?? 1
    let bits = handle.u16(TIFFTAG_BITSPERSAMPLE) ?? 1
    let compression = handle.u16(TIFFTAG_COMPRESSION) ?? Int(COMPRESSION_NONE)
    guard width > 0, height > 0, stored > 0, bits > 0 else {
      throw TIFFFailure("its size is \(width) × \(height) with \(stored) samples of \(bits) bits")
    }
    guard handle.canDecode(compression) else {
      throw TIFFFailure("this libtiff cannot decode compression \(compression); save it uncompressed")
    }
    var coding = Coding.samples
    var isInverted = false
    switch handle.u16(TIFFTAG_PHOTOMETRIC).map(Int32.init) {
    case nil, PHOTOMETRIC_MINISBLACK, PHOTOMETRIC_RGB, PHOTOMETRIC_SEPARATED: break
    case PHOTOMETRIC_MINISWHITE: isInverted = true
    case PHOTOMETRIC_PALETTE: coding = .palette
    case PHOTOMETRIC_YCBCR where compression == Int(COMPRESSION_JPEG): try handle.decodeJPEGAsRGB()
    case .some(let other):
      throw TIFFFailure(
        "its colours (photometric \(other)) are not supported; save it as grey, RGB or palette")
    }
    if bits == 1, coding == .samples { coding = .bits }
    let kind = handle.u16(TIFFTAG_SAMPLEFORMAT) ?? Int(SAMPLEFORMAT_UINT)
    let isSingle = stored == 1 && (kind == Int(SAMPLEFORMAT_UINT) || kind == Int(SAMPLEFORMAT_VOID))
    let format: SampleFormat? =
      switch coding {
      case .bits: isSingle ? .uint8 : nil
      case .palette: isSingle && bits == 8 ? .uint8 : nil
      case .samples: Self.format(bits: bits, kind: kind)
      }
    guard let format else {
      throw TIFFFailure(
        "\(stored) samples of \(bits) bits (sample format \(kind)\(coding == .palette ? ", palette" : "")) "
          + "are not supported; save it with 8, 16 or 32 bit integers or 32 or 64 bit floating point")
    }
    let isSeparate = handle.u16(TIFFTAG_PLANARCONFIG) == Int(PLANARCONFIG_SEPARATE) && stored > 1
    var blockWidth = width
    var blockHeight = min(handle.u32(TIFFTAG_ROWSPERSTRIP) ?? height, height)
    if handle.isTiled {
      blockWidth = handle.u32(TIFFTAG_TILEWIDTH) ?? 0
      blockHeight = handle.u32(TIFFTAG_TILELENGTH) ?? 0
    }
    guard blockWidth > 0, blockHeight > 0 else {
      throw TIFFFailure("its strips or tiles have the size \(blockWidth) × \(blockHeight)")
    }
    self.init(
      width: width, height: height, stored: stored, bits: bits, coding: coding, format: format,
      isInverted: isInverted && format.range != nil, isSeparate: isSeparate, isTiled: handle.isTiled,
      compression: compression, blockWidth: blockWidth, blockHeight: blockHeight)
  }

  /// Whether the bytes of a strip are the samples themselves, so that rows can be read without libtiff.
  func isStored(_ handle: TIFFHandle) -> Bool {
    compression == Int(COMPRESSION_NONE) && coding == .samples && !isTiled
      && handle.u16(TIFFTAG_FILLORDER) != Int(FILLORDER_LSB2MSB)
  }

  private static func format(bits: Int, kind: Int) -> SampleFormat? {
    switch (Int32(kind), bits) {
    case (SAMPLEFORMAT_UINT, 8), (SAMPLEFORMAT_VOID, 8): .uint8
    case (SAMPLEFORMAT_UINT, 16), (SAMPLEFORMAT_VOID, 16): .uint16
    case (SAMPLEFORMAT_UINT, 32), (SAMPLEFORMAT_VOID, 32): .uint32
    case (SAMPLEFORMAT_INT, 8): .int8
    case (SAMPLEFORMAT_INT, 16): .int16
    case (SAMPLEFORMAT_INT, 32): .int32
    case (SAMPLEFORMAT_IEEEFP, 32): .float32
    case (SAMPLEFORMAT_IEEEFP, 64): .float64
    default: nil
    }
  }

  /// Throws where a file of `fileLength` bytes cannot hold the strips or tiles that the tags declare.
  func checkBlocks(_ handle: TIFFHandle, fileLength: Int) throws(TIFFFailure) {
    let absurd = TIFFFailure(
      "a size of \(layoutDescription) is more than a file of \(fileLength) bytes can hold")
    // With the 64, which is the most bits of a sample, no later product of these can overflow.
    guard product(width, height, channels, 64) != nil, product(blockWidth, blockHeight, stored, 64) != nil,
      let limit = product(fileLength, largestExpansion), width * height * stored * bits / 8 <= limit,
      blockWidth * blockHeight * interleaved * bits / 8 <= limit
    else { throw absurd }
    guard handle.blockCount == blockCount else {
      throw TIFFFailure("\(blockCount) strips or tiles were expected, \(handle.blockCount) are declared")
    }
    if isTiled, handle.tileSize != bytes(ofBlock: 0) {
      throw TIFFFailure(
        "tiles of \(bytes(ofBlock: 0)) bytes were expected, \(handle.tileSize) are declared")
    }
    let name = isTiled ? "tile" : "strip"
    for index in 0..<blockCount {
      let (offset, count) = handle.storedRange(ofBlock: index)
      guard offset > 0, count > 0 else {
        throw TIFFFailure("\(name) \(index) is missing, the file is incomplete")
      }
      guard offset <= UInt64(fileLength), count <= UInt64(fileLength) - offset else {
        throw TIFFFailure(
          "the file is truncated: \(name) \(index) is at bytes \(offset) + \(count), the file has "
            + "\(fileLength) bytes; copy it again from its source")
      }
      guard bytes(ofBlock: index) <= product(Int(count), largestExpansion) ?? Int.max else {
        throw TIFFFailure(
          "\(name) \(index) has \(count) bytes, too few for the \(bytes(ofBlock: index)) it decodes to")
      }
    }
  }
}
