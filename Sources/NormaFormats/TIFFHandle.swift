import CTIFF

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// libtiff's handle and the message it leaves; every call into libtiff is made here.
///
/// Older versions of libtiff keep the current message in a static variable of the C header, of which each
/// object file has its own.
final class TIFFHandle {
  private let tiff: OpaquePointer
  private let message: UnsafeMutablePointer<norma_tiff_message>

  /// Opens a duplicate of `descriptor`; throws libtiff's message.
  init(descriptor: Int32, path: String, mode: String, largestAllocation: Int) throws(TIFFFailure) {
    let message = UnsafeMutablePointer<norma_tiff_message>.allocate(capacity: 1)
    message.initialize(to: norma_tiff_message())
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    if copy < 0 {
      let code = errno
      message.deallocate()
      throw TIFFFailure(errorText(code))
    }
    guard let tiff = norma_tiff_open(copy, path, mode, Int64(largestAllocation), message) else {
      let failure = TIFFFailure(message)
      close(copy)
      message.deallocate()
      throw failure
    }
    self.tiff = tiff
    self.message = message
  }

  deinit {
    norma_tiff_begin(message)
    TIFFClose(tiff)
    message.deallocate()
  }

  private func check(_ isDone: Bool) throws(TIFFFailure) {
    if !isDone { throw TIFFFailure(message) }
  }

  // MARK: Reading

  var isByteSwapped: Bool { TIFFIsByteSwapped(tiff) != 0 }

  var isTiled: Bool { TIFFIsTiled(tiff) != 0 }

  func select(directoryAt offset: UInt64) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(TIFFSetSubDirectory(tiff, offset) != 0)
  }

  func u16(_ tag: Int32) -> Int? {
    var value: UInt16 = 0
    norma_tiff_begin(message)
    return norma_tiff_get_u16(tiff, UInt32(tag), &value) != 0 ? Int(value) : nil
  }

  func u32(_ tag: Int32) -> Int? {
    var value: UInt32 = 0
    norma_tiff_begin(message)
    return norma_tiff_get_u32(tiff, UInt32(tag), &value) != 0 ? Int(value) : nil
  }

  func float(_ tag: Int32) -> Float? {
    var value: Float = 0
    norma_tiff_begin(message)
    return norma_tiff_get_float(tiff, UInt32(tag), &value) != 0 && value.isFinite && value > 0 ? value : nil
  }

  func string(_ tag: Int32) -> String? {
    norma_tiff_begin(message)
    return norma_tiff_get_string(tiff, UInt32(tag)).map { String(cString: $0) }
  }

  /// The palette of `count` entries, as red, green and blue of 0…65535.
  func colorMap(count: Int) -> [[UInt16]]? {
    var red: UnsafePointer<UInt16>?
    var green: UnsafePointer<UInt16>?
    var blue: UnsafePointer<UInt16>?
    norma_tiff_begin(message)
    guard norma_tiff_get_colormap(tiff, &red, &green, &blue) != 0, let red, let green, let blue else {
      return nil
    }
    return [red, green, blue].map { Array(UnsafeBufferPointer(start: $0, count: count)) }
  }

  func canDecode(_ compression: Int) -> Bool {
    TIFFIsCODECConfigured(UInt16(truncatingIfNeeded: compression)) != 0
  }

  /// Number of strips or tiles of the page.
  var blockCount: Int {
    norma_tiff_begin(message)
    return Int(isTiled ? TIFFNumberOfTiles(tiff) : TIFFNumberOfStrips(tiff))
  }

  var tileSize: Int {
    norma_tiff_begin(message)
    return Int(TIFFTileSize(tiff))
  }

  func storedRange(ofBlock index: Int) -> (offset: UInt64, count: UInt64) {
    norma_tiff_begin(message)
    return (
      TIFFGetStrileOffset(tiff, UInt32(index)), TIFFGetStrileByteCount(tiff, UInt32(index))
    )
  }

  /// Has JPEG colours converted to RGB while decoding.
  func decodeJPEGAsRGB() throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_int(tiff, UInt32(TIFFTAG_JPEGCOLORMODE), JPEGCOLORMODE_RGB) != 0)
  }

  /// Has deflate decoded by the library that fills strips whatever the data's length.
  func decodeDeflateByZlib() throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_use_zlib(tiff) != 0)
  }

  /// Decodes a strip or tile of exactly `count` bytes.
  ///
  /// With `warningsAreErrors` a warning is thrown as well: some codecs fill up what they cannot decode, and only
  /// warn.
  func decode(
    block index: Int, into target: UnsafeMutableRawPointer, count: Int, warningsAreErrors: Bool
  ) throws(TIFFFailure) {
    norma_tiff_begin(message)
    let done =
      isTiled
      ? TIFFReadEncodedTile(tiff, UInt32(index), target, tmsize_t(count))
      : TIFFReadEncodedStrip(tiff, UInt32(index), target, tmsize_t(count))
    if done >= 0, done != count {
      throw TIFFFailure("\(done) of \(count) bytes could be decoded")
    }
    try check(done == count && norma_tiff_text(message).pointee == 0)
    if warningsAreErrors, norma_tiff_warning(message).pointee != 0 {
      throw TIFFFailure("libtiff: \(String(cString: norma_tiff_warning(message)))")
    }
  }

  // MARK: Writing

  func set(_ tag: Int32, u16 value: Int) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_u16(tiff, UInt32(tag), UInt16(value)) != 0)
  }

  func set(_ tag: Int32, u32 value: Int) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_u32(tiff, UInt32(tag), UInt32(value)) != 0)
  }

  func set(_ tag: Int32, float value: Float) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_float(tiff, UInt32(tag), value) != 0)
  }

  func set(_ tag: Int32, string value: String) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_string(tiff, UInt32(tag), value) != 0)
  }

  func set(extraSamples kinds: [UInt16]) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(norma_tiff_set_extra_samples(tiff, UInt16(kinds.count), kinds) != 0)
  }

  func encode(strip index: Int, from source: UnsafeMutableRawPointer, count: Int) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(TIFFWriteEncodedStrip(tiff, UInt32(index), source, tmsize_t(count)) == count)
  }

  func finishPage() throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(TIFFWriteDirectory(tiff) != 0)
  }

  /// Replaces the description of the first page, which is written a second time for that.
  func rewriteFirstPage(description: String) throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(TIFFSetDirectory(tiff, 0) != 0)
    try set(TIFFTAG_IMAGEDESCRIPTION, string: description)
    norma_tiff_begin(message)
    try check(TIFFRewriteDirectory(tiff) != 0)
  }

  func flush() throws(TIFFFailure) {
    norma_tiff_begin(message)
    try check(TIFFFlush(tiff) != 0)
  }
}

/// What libtiff said, with the text of errno where the system refused something.
struct TIFFFailure: Error {
  let text: String

  init(_ text: String) { self.text = text }

  init(_ message: UnsafePointer<norma_tiff_message>) {
    var text = String(cString: norma_tiff_text(message))
    while let last = text.last, last == "." || last.isWhitespace { text.removeLast() }
    if text.isEmpty { text = "no reason given" }
    if message.pointee.code != 0 { text += " (\(errorText(message.pointee.code)))" }
    self.text = "libtiff: \(text)"
  }
}
