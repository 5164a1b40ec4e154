import CTIFF

/// An open TIFF or BigTIFF file whose pages are read one at a time.
///
/// All pages have one size, channel count and format. Pages marked as reduced copies (thumbnails) or masks are
/// passed over when there are others.
public final class TIFFReader {
  /// The file as it was named.
  public let path: String
  /// Number of pages.
  public let pageCount: Int
  /// Channels of each page; a palette is expanded to three.
  public let channels: Int
  /// Rows of each page.
  public let height: Int
  /// Columns of each page.
  public let width: Int
  /// How the samples are stored; 1-bit and palette images are expanded to uint8.
  public let format: SampleFormat

  private let file: InputFile
  private let handle: TIFFHandle
  private let directories: [UInt64]
  private let contiguous: ImageJStack?

  /// Opens a file and checks every page; throws `FormatError` where it cannot be read or holds unlike pages.
  public init(_ path: String) throws {
    let file = try InputFile(path)
    let chain = try TIFFChain.offsets(of: file)
    do {
      // No memory map, which a file that shrinks turns into a crash; strips as stored; pages when asked for.
      let handle = try TIFFHandle(
        descriptor: file.descriptor, path: path, mode: "rmch",
        largestAllocation: max(64 << 20, product(file.length, 3000) ?? Int.max))
      var pages: [(directory: UInt64, page: TIFFPage)] = []
      var setAside: [(directory: UInt64, page: TIFFPage)] = []
      var declared: Int?
      for (index, directory) in chain.enumerated() {
        let (page, isCopy) = try Self.inspect(
          handle, directory: directory, number: index + 1, path: path, length: file.length)
        if isCopy { setAside.append((directory, page)) } else { pages.append((directory, page)) }
        if index == 0 { declared = ImageJStack.declaredPages(handle.string(TIFFTAG_IMAGEDESCRIPTION)) }
      }
      if pages.isEmpty { pages = setAside }
      let first = pages[0].page
      for (index, other) in pages.enumerated() where !other.page.hasLayout(of: first) {
        throw FormatError.reading(
          path,
          "page \(index + 1) (\(other.page.layoutDescription)) differs from page 1 "
            + "(\(first.layoutDescription)); split the file into stacks of equal pages")
      }
      contiguous = try Self.contiguousStack(
        handle, declared: declared, directories: chain, page: first, path: path, length: file.length)
      directories = pages.map(\.directory)
      pageCount = contiguous?.pages ?? pages.count
      channels = first.channels
      height = first.height
      width = first.width
      format = first.format
      self.handle = handle
    } catch let failure as TIFFFailure {
      throw FormatError.reading(path, failure.text)
    }
    self.path = path
    self.file = file
  }

  private static func inspect(
    _ handle: TIFFHandle, directory: UInt64, number: Int, path: String, length: Int
  ) throws -> (page: TIFFPage, isCopy: Bool) {
    do {
      try handle.select(directoryAt: directory)
      let page = try TIFFPage(handle)
      try page.checkBlocks(handle, fileLength: length)
      let kind = handle.u32(TIFFTAG_SUBFILETYPE) ?? 0
      return (page, kind & Int(FILETYPE_REDUCEDIMAGE | FILETYPE_MASK) != 0)
    } catch {
      throw FormatError.reading(path, "page \(number): \(error.text)")
    }
  }

  private static func contiguousStack(
    _ handle: TIFFHandle, declared: Int?, directories: [UInt64], page: TIFFPage, path: String, length: Int
  ) throws -> ImageJStack? {
    guard let declared, declared > directories.count else { return nil }
    guard directories.count == 1 else {
      throw FormatError.reading(
        path,
        "its ImageJ description declares \(declared) images, but it has \(directories.count) page "
          + "directories; the file is incomplete, save the stack again")
    }
    return try ImageJStack(pages: declared, page: page, handle: handle, fileLength: length)
  }

  /// Reads one page; throws `FormatError` where `index` is not in 0..<pageCount or the page cannot be decoded.
  public func readPage(_ index: Int) throws -> ImageStack {
    // index + 1 has no value for the largest integer.
    try readPages(index < pageCount ? index..<index + 1 : index..<index)
  }

  /// Reads a range of pages; throws `FormatError` where it is empty, not in 0..<pageCount or cannot be decoded.
  public func readPages(_ range: Range<Int>) throws -> ImageStack {
    guard range.lowerBound >= 0, range.upperBound <= pageCount, !range.isEmpty else {
      throw FormatError.reading(
        path, "pages \(range) were asked for, the file has pages \(0..<pageCount) (counted from 0)")
    }
    let perPage = product(channels, height, width)
    let total = perPage.flatMap { product($0, range.count) }
    try checkMemory(floats: total, path: path, advice: "read fewer pages at a time")
    guard let perPage, let total else { return try readPages(0..<0) }
    let values = try [Float](unsafeUninitializedCapacity: total) { buffer, initialized in
      var scratch = Scratch()
      for (place, index) in range.enumerated() {
        let target = PageTarget(
          base: buffer.baseAddress! + place * perPage, width: width, height: height)
        do {
          if let contiguous {
            try read(contiguous, index, into: target, &scratch)
          } else {
            try readDirectory(index, into: target, &scratch)
          }
        } catch let failure as TIFFFailure {
          throw FormatError.reading(path, "page \(index + 1): \(failure.text)")
        }
      }
      initialized = total
    }
    return ImageStack(
      known: range.count, channels: channels, height: height, width: width, format: format,
      values: values)
  }

  private func readDirectory(_ index: Int, into target: PageTarget, _ scratch: inout Scratch) throws {
    try handle.select(directoryAt: directories[index])
    let page = try TIFFPage(handle)
    // The file may have changed since it was opened.
    guard page.width == width, page.height == height, page.channels == channels, page.format == format
    else { throw TIFFFailure("the file changed while it was read") }
    try page.checkBlocks(handle, fileLength: file.length)
    let palette = page.coding == .palette ? handle.colorMap(count: 256) : nil
    if page.coding == .palette, palette == nil { throw TIFFFailure("its palette is missing") }
    if page.isDeflated { try handle.decodeDeflateByZlib() }
    for index in 0..<page.blockCount {
      let bytes = page.bytes(ofBlock: index)
      let raw = try scratch.reserve(bytes)
      try handle.decode(block: index, into: raw, count: bytes, warningsAreErrors: page.fillsGaps)
      let column = index % page.blocksAcross
      let row = index / page.blocksAcross % page.blocksDown
      var block = Block(
        x: column * page.blockWidth, y: row * page.blockHeight,
        width: min(page.blockWidth, width - column * page.blockWidth), height: page.rows(ofBlock: index),
        rowSamples: page.blockWidth * page.interleaved, interleaved: page.interleaved,
        channel: page.isSeparate ? index / (page.blocksAcross * page.blocksDown) : 0)
      switch page.coding {
      case .samples: scatter(page.format, raw, block, target, inverted: page.isInverted)
      case .bits:
        block.rowSamples = page.rowBytes
        scatterBits(raw, block, target, inverted: page.isInverted)
      case .palette: scatterPalette(palette ?? [], raw, block, target)
      }
    }
  }

  private func read(
    _ stack: ImageJStack, _ index: Int, into target: PageTarget, _ scratch: inout Scratch
  ) throws {
    try handle.select(directoryAt: directories[0])
    let page = try TIFFPage(handle)
    let raw = try scratch.reserve(stack.pageBytes)
    try file.read(
      at: stack.offset + index * stack.pageBytes,
      into: UnsafeMutableRawBufferPointer(start: raw, count: stack.pageBytes))
    // A separate plane is one block behind the other, so each is copied as an image of its own.
    let planes = page.isSeparate ? channels : 1
    for plane in 0..<planes {
      let block = Block(
        width: width, height: height, rowSamples: width * page.interleaved,
        interleaved: page.interleaved, channel: plane)
      scatter(
        format, raw + plane * (stack.pageBytes / planes), block, target,
        swapped: handle.isByteSwapped, inverted: page.isInverted)
    }
  }
}

/// A buffer for decoded bytes that grows as needed and is used again for each strip.
private struct Scratch: ~Copyable {
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 16)

  mutating func reserve(_ count: Int) throws(TIFFFailure) -> UnsafeMutableRawPointer {
    if buffer.count < count || buffer.baseAddress == nil {
      guard isThereMemory(bytes: count) else {
        throw TIFFFailure("a strip or tile of \(count) bytes is more than this process can allocate")
      }
      buffer.deallocate()
      buffer = .allocate(byteCount: max(count, 1), alignment: 16)
      // A codec that leaves gaps must not show what was in memory.
      buffer.initializeMemory(as: UInt8.self, repeating: 0)
    }
    return buffer.baseAddress!
  }

  deinit { buffer.deallocate() }
}
