import CTIFF

/// Writes a TIFF file page by page, or band by band, under a temporary name, and gives it its name when it is finished.
///
/// The first page determines size, channels and format. A writer that is dropped before `finish()`, or that
/// fails, leaves nothing behind.
public final class TIFFWriter {
  /// The file as it is to be named.
  public let path: String
  /// Number of pages written so far.
  public private(set) var pageCount = 0

  private let compression: TIFF.Compression
  private let expectedPages: Int?
  private let bigTIFF: Bool?
  private let description: TIFFDescription
  private var output: OutputFile?
  private var handle: TIFFHandle?
  /// A page without values.
  private var layout: ImageStack?
  private var openPage: OpenPage?

  /// Begins a file; throws `FormatError` where its folder cannot be written to.
  ///
  /// `expectedPages` lets the file be laid out in one go; more or fewer may come. `bigTIFF` nil chooses BigTIFF
  /// where `expectedPages` make a file of more than 4 GB. `description` is that of the images these are made from.
  public convenience init(
    _ path: String, compression: TIFF.Compression = .none, expectedPages: Int? = nil, bigTIFF: Bool? = nil,
    description: TIFFDescription = TIFFDescription()
  ) throws {
    self.init(
      try OutputFile(path), compression: compression, expectedPages: expectedPages, bigTIFF: bigTIFF,
      description: description)
  }

  init(
    _ output: OutputFile, compression: TIFF.Compression, expectedPages: Int?, bigTIFF: Bool?,
    description: TIFFDescription = TIFFDescription()
  ) {
    path = output.path
    self.description = description
    self.output = output
    self.compression = compression
    self.expectedPages = expectedPages
    self.bigTIFF = bigTIFF
  }

  deinit { discard() }

  /// Appends all pages of a stack, integers rounded to nearest and cut to the range of the format.
  ///
  /// Throws `FormatError` where the stack is unlike the pages before, has a value that is not a number for an
  /// integer format, or cannot be written; after that the writer is of no more use.
  public func append(_ stack: ImageStack) throws {
    for page in 0..<stack.pages { try append(page, of: stack, pageHeight: stack.height, pages: stack.pages) }
  }

  /// Appends the next rows of a page: an image of its width. The page is complete with its last row, and the file is the
  /// same as if it had come whole; at most one strip is kept in between.
  ///
  /// Throws as ``append(_:)``, and where `band` has several images or more rows than the page has left.
  public func append(band: ImageStack, pageHeight: Int) throws {
    let left = pageHeight - (openPage?.rows ?? 0)
    guard band.pages == 1, band.height <= left else {
      discard()
      throw FormatError.writing(
        path,
        "a band of one image with at most \(left) rows was expected, got \(band.pages) with \(band.height) rows")
    }
    try append(0, of: band, pageHeight: pageHeight, pages: 1)
  }

  private func append(_ index: Int, of stack: ImageStack, pageHeight: Int, pages: Int) throws {
    guard let output else { throw FormatError.writing(path, "the file is already finished or has failed") }
    let page = ImageStack(
      known: 1, channels: stack.channels, height: pageHeight, width: stack.width, format: stack.format, values: [])
    if let layout, !layout.hasLayout(of: page) {
      discard()
      throw FormatError.writing(
        path,
        "page \(pageCount + 1) (\(page.layoutDescription)) differs from page 1 "
          + "(\(layout.layoutDescription)); write it to a file of its own")
    }
    do {
      let handle = try handle ?? open(output, for: page, pages: pages)
      if openPage == nil { openPage = try begin(page, with: handle) }
      try write(index, of: stack, with: handle)
      if openPage?.rows == pageHeight {
        openPage = nil
        try handle.finishPage()
        pageCount += 1
      }
    } catch let failure as TIFFFailure {
      discard()
      throw FormatError.writing(path, "page \(pageCount + 1): \(failure.text)")
    }
  }

  /// Completes the file and gives it its name, replacing a file of that name.
  ///
  /// Throws `FormatError` where no page was written or the disk refuses; then nothing remains.
  public func finish() throws {
    guard let output else { throw FormatError.writing(path, "the file is already finished or has failed") }
    defer { discard() }
    guard let handle else {
      throw FormatError.writing(path, "no page was appended; append one before finish()")
    }
    if let openPage, let layout {
      throw FormatError.writing(
        path, "page \(pageCount + 1) has \(openPage.rows) of \(layout.height) rows; append the rest before finish()")
    }
    do {
      if pageCount != expectedPages {
        try handle.rewriteFirstPage(description: self.description.imageJText(pages: pageCount))
      }
      try handle.flush()
    } catch {
      throw FormatError.writing(path, error.text)
    }
    // libtiff's descriptor is closed before the file gets its name.
    self.handle = nil
    try output.commit()
  }

  private func discard() {
    handle = nil
    output?.discard()
    output = nil
    layout = nil
    openPage = nil
  }

  private func open(_ output: OutputFile, for page: ImageStack, pages: Int) throws(TIFFFailure) -> TIFFHandle {
    let pages = max(expectedPages ?? 1, pages)
    let pageBytes = product(page.valuesPerPage, page.format.bytesPerSample)
    // Offsets of 4 bytes; a page needs some hundred bytes beside its samples.
    let total = pageBytes.flatMap { product($0 + 4096, pages) } ?? Int.max
    let isBig = bigTIFF ?? (total > 4_200_000_000)
    let handle = try TIFFHandle(
      descriptor: output.descriptor, path: path, mode: isBig ? "w8" : "w", largestAllocation: 0)
    self.handle = handle
    layout = page
    return handle
  }

  /// A page of which some rows are there.
  private final class OpenPage {
    /// Rows so far.
    var rows = 0
    let rowsPerStrip: Int
    let rowBytes: Int
    /// The channels of every plane: one each, or all in one.
    let planes: [Range<Int>]
    /// The strip that is being filled, of one plane after the other.
    let strips: UnsafeMutableRawPointer

    init(rowsPerStrip: Int, rowBytes: Int, planes: [Range<Int>]) {
      self.rowsPerStrip = rowsPerStrip
      self.rowBytes = rowBytes
      self.planes = planes
      strips = .allocate(byteCount: planes.count * rowsPerStrip * rowBytes, alignment: 16)
    }

    deinit { strips.deallocate() }

    func strip(ofPlane plane: Int) -> UnsafeMutableRawPointer { strips + plane * rowsPerStrip * rowBytes }
  }

  private func begin(_ page: ImageStack, with handle: TIFFHandle) throws(TIFFFailure) -> OpenPage {
    let isColor = page.channels == 3 || page.channels == 4
    let isSeparate = !isColor && page.channels > 1
    let rowBytes = page.width * (isSeparate ? 1 : page.channels) * page.format.bytesPerSample
    let rowsPerStrip = min(page.height, max(1, (256 << 10) / rowBytes))
    try setTags(page, isColor: isColor, isSeparate: isSeparate, rowsPerStrip: rowsPerStrip, with: handle)
    if pageCount == 0 {
      try handle.set(TIFFTAG_IMAGEDESCRIPTION, string: description.imageJText(pages: expectedPages ?? 1))
    }
    return OpenPage(
      rowsPerStrip: rowsPerStrip, rowBytes: rowBytes,
      planes: isSeparate ? (0..<page.channels).map { $0..<$0 + 1 } : [0..<page.channels])
  }

  /// Takes all rows of one image of a stack into the open page, and writes the strips that are full.
  private func write(_ index: Int, of stack: ImageStack, with handle: TIFFHandle) throws(TIFFFailure) {
    guard let page = openPage, let height = layout?.height else { preconditionFailure("a page is open") }
    var row = 0
    while row < stack.height {
      let strip = page.rows / page.rowsPerStrip
      let end = min((strip + 1) * page.rowsPerStrip, height)
      let rows = row..<min(stack.height, row + end - page.rows)
      let offset = (page.rows - strip * page.rowsPerStrip) * page.rowBytes
      for (plane, channels) in page.planes.enumerated() {
        let isNumber = stack.values.withUnsafeBufferPointer { values in
          gather(
            stack.format, from: values.baseAddress! + index * stack.valuesPerPage, width: stack.width,
            height: stack.height, channels: channels, rows: rows, into: page.strip(ofPlane: plane) + offset)
        }
        if !isNumber { throw TIFFFailure(notANumber(stack.format)) }
      }
      row = rows.upperBound
      page.rows += rows.count
      guard page.rows == end else { continue }
      let stripsPerPlane = (height - 1) / page.rowsPerStrip + 1
      for plane in page.planes.indices {
        try handle.encode(
          strip: plane * stripsPerPlane + strip, from: page.strip(ofPlane: plane),
          count: (end - strip * page.rowsPerStrip) * page.rowBytes)
      }
    }
  }

  private func setTags(
    _ stack: ImageStack, isColor: Bool, isSeparate: Bool, rowsPerStrip: Int, with handle: TIFFHandle
  ) throws(TIFFFailure) {
    let photometric = isColor ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK
    let extra = stack.channels - (isColor ? 3 : 1)
    guard stack.channels <= 65_535, let width = UInt32(exactly: stack.width),
      let height = UInt32(exactly: stack.height)
    else { throw TIFFFailure("\(stack.layoutDescription) is more than a TIFF file can declare") }
    try handle.set(TIFFTAG_IMAGEWIDTH, u32: Int(width))
    try handle.set(TIFFTAG_IMAGELENGTH, u32: Int(height))
    try handle.set(TIFFTAG_SAMPLESPERPIXEL, u16: stack.channels)
    try handle.set(TIFFTAG_BITSPERSAMPLE, u16: stack.format.bytesPerSample * 8)
    let kind =
      switch stack.format {
      case .uint8, .uint16, .uint32: SAMPLEFORMAT_UINT
      case .int8, .int16, .int32: SAMPLEFORMAT_INT
      case .float32, .float64: SAMPLEFORMAT_IEEEFP
      }
    try handle.set(TIFFTAG_SAMPLEFORMAT, u16: Int(kind))
    try handle.set(TIFFTAG_PHOTOMETRIC, u16: Int(photometric))
    try handle.set(
      TIFFTAG_PLANARCONFIG, u16: Int(isSeparate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG))
    if extra > 0 {
      try handle.set(
        extraSamples: Array(repeating: UInt16(EXTRASAMPLE_UNSPECIFIED), count: extra))
    }
    try handle.set(TIFFTAG_COMPRESSION, u16: Int(compression.code))
    // Differences of neighbours compress better, and ImageJ reads them for whole numbers of 8 and 16 bits.
    if compression != .none, stack.format.bytesPerSample <= 2 {
      try handle.set(TIFFTAG_PREDICTOR, u16: Int(PREDICTOR_HORIZONTAL))
    }
    try handle.set(TIFFTAG_ROWSPERSTRIP, u32: rowsPerStrip)
    try description.write(to: handle)
  }
}

func notANumber(_ format: SampleFormat) -> String {
  "a value is not a number, which \(format.rawValue) cannot store; write float32 or replace it"
}

extension TIFF.Compression {
  fileprivate var code: Int32 {
    switch self {
    case .none: COMPRESSION_NONE
    case .lzw: COMPRESSION_LZW
    case .deflate: COMPRESSION_ADOBE_DEFLATE
    }
  }
}
