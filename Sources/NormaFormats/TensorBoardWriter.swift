#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Writes an event file that TensorBoard shows while it grows: `tensorboard --logdir FOLDER`.
///
/// Every call is with the system when it returns. Scalars are stored as `simple_value` and images as `image`, which
/// TensorBoard shows under SCALARS and IMAGES like the newer tensors, and which its `EventAccumulator` lists as
/// scalars and images too. The messages are those of tensorflow/core/util/event.proto and framework/summary.proto.
public final class TensorBoardWriter {
  private let file: GrowingFile
  private let clock: () -> Double

  /// The event file.
  public var path: String { file.path }

  /// Makes a new event file, and the folder where it is missing. Older files stay, and TensorBoard shows all event
  /// files of a folder as one run.
  /// - Throws: ``FormatError`` when the folder cannot be made or written into.
  public convenience init(folder: String) throws { try self.init(folder: folder, clock: secondsSince1970) }

  init(folder: String, clock: @escaping () -> Double) throws {
    try Folder.make(folder)
    self.clock = clock
    let started = clock()
    let stem = "\(folder)/events.out.tfevents.\(Int(started)).\(hostName()).\(getpid())"
    var number = 0
    var made: GrowingFile?
    repeat {
      made = try GrowingFile("\(stem).\(number)")
      number += 1
    } while made == nil
    file = made!
    var event = ProtobufMessage()
    event.add(1, started)
    event.add(3, "brain.Event:2".utf8)
    try append(event)
  }

  /// Adds a number to a curve.
  /// - Parameters:
  ///   - tag: the curve's name; what comes before the first slash gathers curves.
  ///   - value: stored as Float; may be infinite or not a number.
  ///   - step: where on the horizontal axis, such as the epoch.
  ///   - wallTime: seconds since 1970, UTC; by default now.
  /// - Throws: ``FormatError`` when the tag is empty, or the file closed or not to be written to; then it is as before.
  public func scalar(_ tag: String, _ value: Double, step: Int, wallTime: Double? = nil) throws {
    try scalars([(tag, value)], step: step, wallTime: wallTime)
  }

  /// Adds a number to each of several curves, as one event.
  /// - Throws: as ``scalar(_:_:step:wallTime:)``.
  public func scalars(_ values: [(tag: String, value: Double)], step: Int, wallTime: Double? = nil) throws {
    try append(
      values.map { tag, value in try summary(tag) { $0.add(2, Float(value)) } }, step: step, wallTime: wallTime)
  }

  /// Adds an image to a series.
  /// - Parameters:
  ///   - tag: the series' name.
  ///   - png: the bytes of a PNG file.
  ///   - step, wallTime: as for ``scalar(_:_:step:wallTime:)``.
  /// - Throws: ``FormatError`` as there, and when the bytes are no PNG file's.
  public func image(_ tag: String, png: [UInt8], step: Int, wallTime: Double? = nil) throws {
    guard let extent = PNG.extent(of: png) else {
      let found = png.isEmpty ? "is empty" : "begins with the bytes \(hex(png.prefix(8)))"
      throw FormatError.writing(
        path, "the image for '\(tag)' must be the bytes of a PNG file, but it \(found); encode it first")
    }
    var image = ProtobufMessage()
    image.add(1, extent.height)
    image.add(2, extent.width)
    image.add(3, extent.channels)
    image.add(4, png)
    try append([summary(tag) { $0.add(4, image.bytes) }], step: step, wallTime: wallTime)
  }

  /// Adds an image to a series: one page with 1 to 4 channels, uint8 or uint16.
  /// - Throws: ``FormatError`` as above, and when a PNG file cannot hold the image.
  public func image(_ tag: String, _ image: ImageStack, step: Int, wallTime: Double? = nil) throws {
    try self.image(tag, png: PNG.encode(image, for: path), step: step, wallTime: wallTime)
  }

  /// Makes the file durable; nothing can be added to it after.
  /// - Throws: ``FormatError`` when the system reports that it could not keep the bytes.
  public func close() throws { try file.finish() }

  /// One `Summary.Value`.
  private func summary(_ tag: String, _ setValue: (inout ProtobufMessage) -> Void) throws -> [UInt8] {
    if tag.isEmpty {
      throw FormatError.writing(path, "a tag is empty; name what the value is, such as train/loss")
    }
    var value = ProtobufMessage()
    value.add(1, tag.utf8)
    setValue(&value)
    return value.bytes
  }

  private func append(_ values: [[UInt8]], step: Int, wallTime: Double?) throws {
    if values.isEmpty { return }
    var summary = ProtobufMessage()
    for value in values { summary.add(1, value) }
    var event = ProtobufMessage()
    event.add(1, wallTime ?? clock())
    event.add(2, step)
    event.add(5, summary.bytes)
    try append(event)
  }

  private func append(_ event: ProtobufMessage) throws {
    try TFRecord.bytes(event.bytes).withUnsafeBytes { try file.append($0) }
  }
}

private func secondsSince1970() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
