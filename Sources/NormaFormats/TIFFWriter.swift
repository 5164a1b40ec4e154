import CTIFF

/// Writes a TIFF file page by page under a temporary name, and gives it its name when it is finished.
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
  private var output: OutputFile?
  private var handle: TIFFHandle?
  private var layout: ImageStack?

  /// Begins a file; throws `FormatError` where its folder cannot be written to.
  ///
  /// `expectedPages` lets the file be laid out in one go; more or fewer may come. `bigTIFF` nil chooses BigTIFF
  /// where `expectedPages` make a file of more than 4 GB.
  public convenience init(
    _ path: String, compression: TIFF.Compression = .none, expectedPages: Int? = nil, bigTIFF: Bool? = nil
  ) throws {
    self.init(
      try OutputFile(path), compression: compression, expectedPages: expectedPages, bigTIFF: bigTIFF)
  }

  init(_ output: OutputFile, compression: TIFF.Compression, expectedPages: Int?, bigTIFF: Bool?) {
    path = output.path
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
    guard let output else { throw FormatError.writing(path, "the file is already finished or has failed") }
    if let layout, !layout.hasLayout(of: stack) {
      discard()
      throw FormatError.writing(
        path,
        "page \(pageCount + 1) (\(stack.layoutDescription)) differs from page 1 "
          + "(\(layout.layoutDescription)); write it to a file of its own")
    }
    do {
      let handle = try handle ?? open(output, for: stack)
      for page in 0..<stack.pages {
        try write(page, of: stack, with: handle)
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
    do {
      if pageCount != expectedPages {
        try handle.rewriteFirstPage(description: ImageJStack.description(pages: pageCount))
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
  }

  private func open(_ output: OutputFile, for stack: ImageStack) throws(TIFFFailure) -> TIFFHandle {
    let pages = max(expectedPages ?? 1, stack.pages)
    let pageBytes = product(stack.valuesPerPage, stack.format.bytesPerSample)
    // Offsets of 4 bytes; a page needs some hundred bytes beside its samples.
    let total = pageBytes.flatMap { product($0 + 4096, pages) } ?? Int.max
    let isBig = bigTIFF ?? (total > 4_200_000_000)
    let handle = try TIFFHandle(
      descriptor: output.descriptor, path: path, mode: isBig ? "w8" : "w", largestAllocation: 0)
    self.handle = handle
    layout = ImageStack(
      known: 1, channels: stack.channels, height: stack.height, width: stack.width,
      format: stack.format, values: [])
    return handle
  }

  private func write(_ page: Int, of stack: ImageStack, with handle: TIFFHandle) throws(TIFFFailure) {
    let isColor = stack.channels == 3 || stack.channels == 4
    let isSeparate = !isColor && stack.channels > 1
    let interleaved = isSeparate ? 1 : stack.channels
    let rowBytes = stack.width * interleaved * stack.format.bytesPerSample
    let rowsPerStrip = min(stack.height, max(1, (256 << 10) / rowBytes))
    try setTags(stack, isColor: isColor, isSeparate: isSeparate, rowsPerStrip: rowsPerStrip, with: handle)
    if pageCount == 0 {
      let text = ImageJStack.description(pages: expectedPages ?? 1)
      try handle.set(TIFFTAG_IMAGEDESCRIPTION, string: text)
    }

    let scratch = UnsafeMutableRawPointer.allocate(byteCount: rowsPerStrip * rowBytes, alignment: 16)
    defer { scratch.deallocate() }
    var strip = 0
    for plane in 0..<(isSeparate ? stack.channels : 1) {
      for row in stride(from: 0, to: stack.height, by: rowsPerStrip) {
        let rows = row..<min(row + rowsPerStrip, stack.height)
        let isNumber = stack.values.withUnsafeBufferPointer { values in
          gather(
            stack.format, from: values.baseAddress! + page * stack.valuesPerPage, width: stack.width,
            height: stack.height, channels: isSeparate ? plane..<plane + 1 : 0..<stack.channels,
            rows: rows, into: scratch)
        }
        if !isNumber { throw TIFFFailure(notANumber(stack.format)) }
        try handle.encode(strip: strip, from: scratch, count: rows.count * rowBytes)
        strip += 1
      }
    }
    try handle.finishPage()
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
