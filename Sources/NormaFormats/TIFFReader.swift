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
  private var scratch = Scratch()
  /// The strip or tile whose bytes the scratch holds, by directory and index.
  private var held: (directory: UInt64, block: Int)?

  /// What the first page says about the size of its pixels and, in ImageJ's words, about the stack.
  public let description: TIFFDescription

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
      try handle.select(directoryAt: directories[0])
      description = TIFFDescription(handle)
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
    try read(range, rows: 0..<height, columns: 0..<width, advice: "read fewer pages at a time")
  }

  /// Reads a rectangle of one page as an image of its size.
  ///
  /// Only the strips or tiles that it touches are decoded, and of unpacked strips only its rows are read. Beside the result
  /// this takes the memory of one strip or tile as stored, which is kept for the next call: a packed page of a single strip
  /// is decoded once for all its rectangles.
  /// - Parameter columns: nil for all.
  /// - Throws: `FormatError` where the page or the rectangle is not there, the rectangle is empty, or a part cannot be decoded.
  public func readRegion(page: Int, rows: Range<Int>, columns: Range<Int>? = nil) throws -> ImageStack {
    let columns = columns ?? 0..<width
    guard (0..<pageCount).contains(page), !rows.isEmpty, !columns.isEmpty, rows.lowerBound >= 0,
      rows.upperBound <= height, columns.lowerBound >= 0, columns.upperBound <= width
    else {
      throw FormatError.reading(
        path,
        "rows \(rows) and columns \(columns) of page \(page) were asked for, the file has pages \(0..<pageCount) of "
          + "rows \(0..<height) and columns \(0..<width) (counted from 0)")
    }
    return try read(page..<page + 1, rows: rows, columns: columns, advice: "read fewer rows at a time")
  }

  private func read(
    _ pages: Range<Int>, rows: Range<Int>, columns: Range<Int>, advice: String
  ) throws -> ImageStack {
    guard pages.lowerBound >= 0, pages.upperBound <= pageCount, !pages.isEmpty else {
      throw FormatError.reading(
        path, "pages \(pages) were asked for, the file has pages \(0..<pageCount) (counted from 0)")
    }
    let perPage = product(channels, rows.count, columns.count)
    let total = perPage.flatMap { product($0, pages.count) }
    try checkMemory(floats: total, path: path, advice: advice)
    guard let perPage, let total else { preconditionFailure("what fits into memory can be counted") }
    let values = try [Float](unsafeUninitializedCapacity: total) { buffer, initialized in
      for (place, index) in pages.enumerated() {
        let region = Region(
          rows: rows, columns: columns,
          target: PageTarget(
            base: buffer.baseAddress! + place * perPage, width: columns.count, height: rows.count))
        do {
          if let contiguous {
            try read(contiguous, index, region)
          } else {
            try readDirectory(index, region)
          }
        } catch let failure as TIFFFailure {
          throw FormatError.reading(path, "page \(index + 1): \(failure.text)")
        }
      }
      initialized = total
    }
    return ImageStack(
      known: pages.count, channels: channels, height: rows.count, width: columns.count, format: format,
      values: values)
  }

  /// A rectangle of a page and where it goes.
  private struct Region {
    let rows: Range<Int>
    let columns: Range<Int>
    let target: PageTarget
  }

  private func readDirectory(_ index: Int, _ region: Region) throws {
    try handle.select(directoryAt: directories[index])
    let page = try TIFFPage(handle)
    // The file may have changed since it was opened.
    guard page.width == width, page.height == height, page.channels == channels, page.format == format
    else { throw TIFFFailure("the file changed while it was read") }
    try page.checkBlocks(handle, fileLength: file.length)
    let palette = page.coding == .palette ? handle.colorMap(count: 256) : nil
    if page.coding == .palette, palette == nil { throw TIFFFailure("its palette is missing") }
    if page.isDeflated { try handle.decodeDeflateByZlib() }
    let isStored = page.isStored(handle)
    for blockIndex in 0..<page.blockCount {
      let column = blockIndex % page.blocksAcross
      let row = blockIndex / page.blocksAcross % page.blocksDown
      let whole = Block(
        x: column * page.blockWidth, y: row * page.blockHeight,
        width: min(page.blockWidth, width - column * page.blockWidth), height: page.rows(ofBlock: blockIndex),
        rowSamples: page.blockWidth * page.interleaved, interleaved: page.interleaved,
        channel: page.isSeparate ? blockIndex / (page.blocksAcross * page.blocksDown) : 0)
      guard var block = whole.clipped(rows: region.rows, columns: region.columns) else { continue }
      if isStored, block.height < whole.height {
        try copyStored(block, at: Int(handle.storedRange(ofBlock: blockIndex).offset), page, region.target)
        continue
      }
      let raw = try decoded(blockIndex, of: page, directory: directories[index])
      switch page.coding {
      case .samples: scatter(page.format, raw, block, region.target, inverted: page.isInverted)
      case .bits:
        block.rowSamples = page.rowBytes
        scatterBits(raw, block, region.target, inverted: page.isInverted)
      case .palette: scatterPalette(palette ?? [], raw, block, region.target)
      }
    }
  }

  /// The bytes of a strip or tile, which may be there from the call before.
  private func decoded(_ index: Int, of page: TIFFPage, directory: UInt64) throws -> UnsafeMutableRawPointer {
    let bytes = page.bytes(ofBlock: index)
    if let held, held == (directory, index) { return try scratch.reserve(bytes) }
    held = nil
    let raw = try scratch.reserve(bytes)
    try handle.decode(block: index, into: raw, count: bytes, warningsAreErrors: page.fillsGaps)
    held = (directory, index)
    return raw
  }

  /// Copies rows that lie unpacked in the file, in a strip that begins at `offset`.
  private func copyStored(_ block: Block, at offset: Int, _ page: TIFFPage, _ target: PageTarget) throws {
    var block = block
    let bytes = block.height * page.rowBytes
    held = nil
    let raw = try scratch.reserve(bytes)
    try file.read(
      at: offset + block.skippedRows * page.rowBytes,
      into: UnsafeMutableRawBufferPointer(start: raw, count: bytes))
    block.skippedRows = 0
    scatter(format, raw, block, target, swapped: handle.isByteSwapped, inverted: page.isInverted)
  }

  private func read(_ stack: ImageJStack, _ index: Int, _ region: Region) throws {
    try handle.select(directoryAt: directories[0])
    let page = try TIFFPage(handle)
    // A separate plane is one block behind the other, so each is copied as an image of its own.
    let planes = page.isSeparate ? channels : 1
    for plane in 0..<planes {
      let block = Block(
        width: width, height: height, rowSamples: width * page.interleaved,
        interleaved: page.interleaved, channel: plane
      ).clipped(rows: region.rows, columns: region.columns)
      guard let block else { continue }
      let start = stack.offset + index * stack.pageBytes + plane * (stack.pageBytes / planes)
      try copyStored(block, at: start, page, region.target)
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
