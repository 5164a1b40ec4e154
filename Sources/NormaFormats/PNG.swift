import CPNG

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// PNG images with 8 or 16 bits: grey, grey and alpha, RGB, RGB and alpha; samples without gamma conversion.
public enum PNG {
  private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

  static func isMagic(_ bytes: some Collection<UInt8>) -> Bool {
    bytes.prefix(signature.count).elementsEqual(signature)
  }

  /// What the header of a PNG file declares, or nil where the bytes are none. A palette counts as three channels.
  static func extent(of bytes: [UInt8]) -> (height: Int, width: Int, channels: Int)? {
    let name = signature.count + 4
    guard isMagic(bytes), bytes.count > 25, bytes[name..<name + 4].elementsEqual("IHDR".utf8),
      let channels = [0: 1, 2: 3, 3: 3, 4: 2, 6: 4][bytes[25]]
    else { return nil }
    func number(_ offset: Int) -> Int { bytes[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) } }
    let (width, height) = (number(name + 4), number(name + 8))
    return width > 0 && height > 0 ? (height, width, channels) : nil
  }

  /// Reads an image as a stack of one page; throws `FormatError` naming what is wrong.
  ///
  /// Palettes become RGB (with alpha where they have it), greys of 1, 2 and 4 bits are spread over 0…255.
  public static func read(_ path: String) throws -> ImageStack {
    let file = try InputFile(path)
    if file.length == 0 { throw FormatError.reading(path, "the file is empty") }
    let start = try file.bytes(at: 0, count: min(signature.count, file.length))
    guard isMagic(start) else {
      throw FormatError.reading(
        path,
        "it is not a PNG file: it begins with the bytes \(hex(start)), expected \(hex(signature))")
    }
    let bytes = try file.bytes(at: 0, count: file.length)
    // Deflate makes at most 1,032 bytes of one.
    let limit = product(file.length, 1100) ?? Int.max
    var image = norma_png()
    guard norma_png_read(bytes, bytes.count, UInt64(limit), &image) == 1, let samples = image.samples
    else {
      throw FormatError.reading(
        path, "the file is truncated or corrupt (libpng: \(text(image))); copy it again from its source")
    }
    defer { free(samples) }
    let (width, height, channels) = (Int(image.width), Int(image.height), Int(image.channels))
    let format: SampleFormat = image.bit_depth == 16 ? .uint16 : .uint8
    let total = product(width, height, channels)
    try checkMemory(floats: total, path: path, advice: "cut the image into parts")
    let count = total ?? 0
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      let block = Block(
        width: width, height: height, rowSamples: width * channels, interleaved: channels)
      scatter(
        format, samples, block, PageTarget(base: buffer.baseAddress!, width: width, height: height))
      initialized = count
    }
    return ImageStack(
      known: 1, channels: channels, height: height, width: width, format: format, values: values)
  }

  /// Reads the files of a folder that end in .png as the pages of a stack, slice2 before slice10.
  ///
  /// Names that begin with a dot are passed over. Throws `FormatError` where there is no such file, or naming two
  /// files that differ in size, channels or format.
  public static func readFolder(_ path: String) throws -> ImageStack {
    let names = try folderNames(path).filter { $0.lowercased().hasSuffix(".png") }
      .sorted(by: precedesNaturally)
    guard let firstName = names.first else {
      throw FormatError.reading(
        path, "the folder has no files that end in .png; name a TIFF file or a folder of PNG files")
    }
    func join(_ name: String) -> String { path.hasSuffix("/") ? path + name : path + "/" + name }
    let first = try read(join(firstName))
    let total = product(first.values.count, names.count)
    try checkMemory(floats: total, path: path, advice: "read the files one at a time")
    var values = first.values
    values.reserveCapacity(total ?? 0)
    for name in names.dropFirst() {
      let image = try read(join(name))
      guard image.hasLayout(of: first) else {
        throw FormatError.reading(
          path,
          "'\(name)' (\(image.layoutDescription)) differs from '\(firstName)' "
            + "(\(first.layoutDescription)); the files of a stack must be alike")
      }
      values += image.values
    }
    return ImageStack(
      known: names.count, channels: first.channels, height: first.height, width: first.width,
      format: first.format, values: values)
  }

  /// Writes a stack of one page with 1 to 4 channels as uint8 or uint16, rounded and cut to that range.
  ///
  /// Throws `FormatError`, and then leaves the file of that name as it was.
  public static func write(_ stack: ImageStack, to path: String) throws {
    try write(stack, to: OutputFile(path))
  }

  static func write(_ stack: ImageStack, to output: OutputFile) throws {
    defer { output.discard() }
    try encode(stack, for: output.path).withUnsafeBytes { try output.write($0) }
    try output.commit()
  }

  /// The bytes of a PNG file; errors name `path`, which they are for.
  package static func encode(_ stack: ImageStack, for path: String) throws -> [UInt8] {
    guard stack.pages == 1 else {
      throw FormatError.writing(
        path, "a PNG file holds one page, the stack has \(stack.pages); write each page, or a TIFF file")
    }
    guard (1...4).contains(stack.channels), stack.format == .uint8 || stack.format == .uint16 else {
      throw FormatError.writing(
        path,
        "a PNG file holds 1 to 4 channels of uint8 or uint16, the stack has \(stack.layoutDescription); "
          + "convert it, or write a TIFF file")
    }
    guard let width = UInt32(exactly: stack.width), let height = UInt32(exactly: stack.height) else {
      throw FormatError.writing(path, "\(stack.layoutDescription) is more than a PNG file can declare")
    }
    let samples = UnsafeMutableRawPointer.allocate(
      byteCount: stack.values.count * stack.format.bytesPerSample, alignment: 16)
    defer { samples.deallocate() }
    let isNumber = stack.values.withUnsafeBufferPointer { values in
      gather(
        stack.format, from: values.baseAddress!, width: stack.width, height: stack.height,
        channels: 0..<stack.channels, rows: 0..<stack.height, into: samples)
    }
    if !isNumber { throw FormatError.writing(path, notANumber(stack.format)) }
    var image = norma_png()
    image.width = width
    image.height = height
    image.channels = Int32(stack.channels)
    image.bit_depth = Int32(stack.format.bytesPerSample * 8)
    image.samples = samples.assumingMemoryBound(to: UInt8.self)
    var bytes = norma_png_bytes()
    guard norma_png_write(&image, &bytes) == 1, let data = bytes.data else {
      throw FormatError.writing(path, "libpng: \(text(image))")
    }
    defer { free(data) }
    return Array(UnsafeRawBufferPointer(start: data, count: bytes.position))
  }

  private static func text(_ image: norma_png) -> String {
    withUnsafePointer(to: image) { String(cString: norma_png_text($0)) }
  }
}

/// Orders names with runs of digits by their number.
package func precedesNaturally(_ left: String, _ right: String) -> Bool {
  var a = Array(left.utf8)[...]
  var b = Array(right.utf8)[...]
  func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  while let x = a.first, let y = b.first {
    if isDigit(x), isDigit(y) {
      let (runA, runB) = (a.prefix(while: isDigit), b.prefix(while: isDigit))
      let digitsA = runA.drop { $0 == UInt8(ascii: "0") }
      let digitsB = runB.drop { $0 == UInt8(ascii: "0") }
      if digitsA.count != digitsB.count { return digitsA.count < digitsB.count }
      if !digitsA.elementsEqual(digitsB) { return digitsA.lexicographicallyPrecedes(digitsB) }
      a = a.dropFirst(runA.count)
      b = b.dropFirst(runB.count)
    } else if x != y {
      return x < y
    } else {
      a = a.dropFirst()
      b = b.dropFirst()
    }
  }
  if a.isEmpty != b.isEmpty { return a.isEmpty }
  // Names such as 1.png and 01.png are equal so far, but an order must tell them apart.
  return left.utf8.lexicographicallyPrecedes(right.utf8)
}
