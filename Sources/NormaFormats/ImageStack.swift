/// How samples were stored in the file.
public enum SampleFormat: String, Sendable, Codable, CaseIterable {
  case uint8, uint16, uint32, int8, int16, int32, float32, float64

  /// Bytes of one stored sample.
  public var bytesPerSample: Int {
    switch self {
    case .uint8, .int8: 1
    case .uint16, .int16: 2
    case .uint32, .int32, .float32: 4
    case .float64: 8
    }
  }

  /// The smallest and largest value an integer format stores, nil for floating point.
  public var range: ClosedRange<Double>? {
    switch self {
    case .uint8: Double(UInt8.min)...Double(UInt8.max)
    case .uint16: Double(UInt16.min)...Double(UInt16.max)
    case .uint32: Double(UInt32.min)...Double(UInt32.max)
    case .int8: Double(Int8.min)...Double(Int8.max)
    case .int16: Double(Int16.min)...Double(Int16.max)
    case .int32: Double(Int32.min)...Double(Int32.max)
    case .float32, .float64: nil
    }
  }
}

/// Images of one size with the values as stored in the file, planar:
/// index = ((page * channels + channel) * height + y) * width + x.
///
/// 32-bit integers beyond ±2^24 and 64-bit floats are rounded to the nearest Float.
public struct ImageStack: Sendable, Equatable {
  /// Number of images.
  public let pages: Int
  /// Samples per pixel.
  public let channels: Int
  /// Rows of one image.
  public let height: Int
  /// Columns of one image.
  public let width: Int
  /// How the samples were, or are to be, stored.
  public let format: SampleFormat
  /// pages × channels × height × width values.
  public let values: [Float]

  /// Makes a stack of `values`; throws `FormatError` where a size is not positive or the count does not match.
  public init(
    pages: Int, channels: Int, height: Int, width: Int, format: SampleFormat, values: [Float]
  ) throws {
    let shape = "\(pages) pages × \(channels) channels × \(height) × \(width) pixels"
    guard pages > 0, channels > 0, height > 0, width > 0 else {
      throw FormatError.stack("\(shape) has a size that is not positive")
    }
    guard let count = product(pages, channels, height, width), count == values.count else {
      throw FormatError.stack("\(shape) does not match the \(values.count) values given")
    }
    self.init(
      known: pages, channels: channels, height: height, width: width, format: format, values: values)
  }

  init(known pages: Int, channels: Int, height: Int, width: Int, format: SampleFormat, values: [Float]) {
    self.pages = pages
    self.channels = channels
    self.height = height
    self.width = width
    self.format = format
    self.values = values
  }

  /// Values of one image: channels × height × width.
  public var valuesPerPage: Int { channels * height * width }

  /// The value at one place; every index must lie in the stack.
  public subscript(page: Int, channel: Int, y: Int, x: Int) -> Float {
    precondition(
      (0..<pages).contains(page) && (0..<channels).contains(channel)
        && (0..<height).contains(y) && (0..<width).contains(x),
      "index [\(page), \(channel), \(y), \(x)] lies outside of the image stack")
    return values[((page * channels + channel) * height + y) * width + x]
  }

  /// One image as a stack of one page; `index` must be in 0..<pages.
  public func page(_ index: Int) -> ImageStack {
    pages(index..<index + 1)
  }

  /// The images of a range as a stack; `range` must be a non-empty part of 0..<pages.
  public func pages(_ range: Range<Int>) -> ImageStack {
    precondition(
      !range.isEmpty && range.lowerBound >= 0 && range.upperBound <= pages,
      "pages \(range) are not in a stack of \(pages)")
    let part = values[range.lowerBound * valuesPerPage..<range.upperBound * valuesPerPage]
    return ImageStack(
      known: range.count, channels: channels, height: height, width: width, format: format,
      values: Array(part))
  }

  /// Whether the other stack has the same channels, height, width and format.
  public func hasLayout(of other: ImageStack) -> Bool {
    channels == other.channels && height == other.height && width == other.width
      && format == other.format
  }

  /// Width × height, channels and format in words.
  public var layoutDescription: String {
    describeLayout(width: width, height: height, channels: channels, format: format)
  }
}

func describeLayout(width: Int, height: Int, channels: Int, format: SampleFormat) -> String {
  "\(width) × \(height) pixels, \(channels) channel\(channels == 1 ? "" : "s"), \(format.rawValue)"
}
