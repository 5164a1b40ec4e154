import NormaFormats

/// Images, or several streams as the channels of one image, each with a class or a number to be told from it.
///
/// Parts and copies share one storage of pixels.
public struct ImageDataset: Sendable {
  /// What is to be told from the images, in their order.
  public enum Targets: Sendable, Equatable {
    /// Classes 0 ..< `names.count`.
    case classes([UInt16], names: [String])
    /// Numbers, and what they measure.
    case values([Float], name: String)

    /// The number of targets.
    public var count: Int {
      switch self {
      case .classes(let classes, _): classes.count
      case .values(let values, _): values.count
      }
    }

    fileprivate func part(_ indices: [Int]) -> Targets {
      switch self {
      case .classes(let classes, let names): .classes(indices.map { classes[$0] }, names: names)
      case .values(let values, let name): .values(indices.map { values[$0] }, name: name)
      }
    }
  }

  /// Pixels as they are kept, [count, channels, height, width].
  public enum Pixels: Sendable, Equatable {
    /// 0…255, which stands for 0…1.
    case bytes([UInt8])
    /// Real values, as they are.
    case reals([Float])
  }

  /// What to call this data in reports.
  public let name: String
  /// Channels per image.
  public let channels: Int
  /// Rows per image.
  public let height: Int
  /// Columns per image.
  public let width: Int
  /// What is to be told from each image of this part.
  public let targets: Targets

  let pixels: Pixels
  /// Where in `pixels` each image of this part is.
  private let places: [Int]

  /// The number of images.
  public var count: Int { places.count }
  /// Values of one image.
  public var valuesPerImage: Int { channels * height * width }

  /// Puts images and targets together.
  ///
  /// - Throws: `DataError` where a size is not positive, the counts differ, a class has no name, names are there twice, or a
  ///   pixel or target is not finite.
  public init(
    name: String, channels: Int, height: Int, width: Int, pixels: Pixels, targets: Targets
  ) throws {
    try checkPositive(
      ("channels", channels), ("rows", height), ("columns", width), ("images in \(name)", targets.count))
    let stored =
      switch pixels {
      case .bytes(let bytes): bytes.count
      case .reals(let values): values.count
      }
    let (area, isTooLarge) = height.multipliedReportingOverflow(by: width)
    let (size, isTooMuch) = area.multipliedReportingOverflow(by: channels)
    let (total, isTooMany) = size.multipliedReportingOverflow(by: targets.count)
    guard !isTooLarge, !isTooMuch, !isTooMany, stored == total else {
      throw DataError(
        .size,
        "Expected \(targets.count) images of \(channels)×\(height)×\(width) values in \(name), one for each target, "
          + "received \(stored) values.")
    }
    switch targets {
    case .classes(let classes, let names):
      guard Set(names).count == names.count, !names.isEmpty else {
        throw DataError(.classCount, "Expected a name of its own for each class of \(name), received \(names).")
      }
      if let wrong = classes.first(where: { $0 >= names.count }) {
        throw DataError(
          .labelValue, "Expected classes 0 to \(names.count - 1) in \(name), received \(wrong); name every class.")
      }
    case .values(let values, let what):
      if let index = values.firstIndex(where: { !$0.isFinite }) {
        throw DataError(
          .target, "Expected finite numbers for \(what), received \(values[index]) for image \(index + 1).")
      }
    }
    if case .reals(let values) = pixels, let index = values.firstIndex(where: { !$0.isFinite }) {
      throw DataError(
        .imageValue,
        "Expected finite values, received \(values[index]) in image \(index / size + 1) of \(name); repair or remove it."
      )
    }
    self.init(
      name: name, channels: channels, height: height, width: width, pixels: pixels, targets: targets,
      places: Array(0..<targets.count))
  }

  private init(
    name: String, channels: Int, height: Int, width: Int, pixels: Pixels, targets: Targets, places: [Int]
  ) {
    self.name = name
    self.channels = channels
    self.height = height
    self.width = width
    self.pixels = pixels
    self.targets = targets
    self.places = places
  }

  /// The number of images of each class; `nil` where the targets are numbers.
  public var classCounts: [Int]? {
    guard case .classes(let classes, let names) = targets else { return nil }
    var counts = [Int](repeating: 0, count: names.count)
    for number in classes { counts[Int(number)] += 1 }
    return counts
  }

  /// One image, [channels, height, width]: 0…1, or real values.
  public func image(_ index: Int) -> [Float] {
    let start = start(of: index)
    switch pixels {
    case .bytes(let bytes): return bytes[start..<start + valuesPerImage].map { Float($0) / 255 }
    case .reals(let values): return Array(values[start..<start + valuesPerImage])
    }
  }

  /// Where in `pixels` an image begins.
  func start(of index: Int) -> Int {
    precondition(index >= 0 && index < count, "image \(index) is not one of the \(count) of \(name)")
    return places[index] * valuesPerImage
  }

  /// Tells these images and targets from others: a hash in hexadecimal digits.
  public var digest: String {
    var hash = WordHash()
    hash.take([channels, height, width, count])
    let size = valuesPerImage
    for index in 0..<count {
      let start = start(of: index)
      switch pixels {
      case .bytes(let bytes):
        bytes.withUnsafeBufferPointer { hash.take(bytes: UnsafeBufferPointer(rebasing: $0[start..<start + size])) }
      case .reals(let values): hash.take(values[start..<start + size].lazy.map(\.bitPattern))
      }
    }
    switch targets {
    case .classes(let classes, let names):
      hash.take([names.count])
      hash.take(classes.lazy.map(UInt32.init))
    case .values(let values, _): hash.take(values.lazy.map(\.bitPattern))
    }
    return hash.text
  }

  /// The images with these numbers, in this order.
  public func part(_ indices: [Int], name: String) -> ImageDataset {
    ImageDataset(
      name: name, channels: channels, height: height, width: width, pixels: pixels, targets: targets.part(indices),
      places: indices.map { places[$0] })
  }

  /// Images of one size after each other; every part becomes a class of its own.
  /// - Throws: `DataError` for parts of other sizes.
  public static func joined(_ parts: [ImageDataset], name: String) throws -> ImageDataset {
    let first = parts.first
    var bytes: [UInt8] = []
    for part in parts {
      guard case .bytes(let all) = part.pixels, part.channels == first?.channels, part.height == first?.height,
        part.width == first?.width
      else { throw DataError(.size, "Expected 8-bit images of one size in \(name), received others in \(part.name).") }
      for index in 0..<part.count { bytes += all[part.start(of: index)..<part.start(of: index) + part.valuesPerImage] }
    }
    return try ImageDataset(
      name: name, channels: first?.channels ?? 0, height: first?.height ?? 0, width: first?.width ?? 0,
      pixels: .bytes(bytes),
      targets: .classes(
        parts.enumerated().flatMap { number, part in Array(repeating: UInt16(clamping: number), count: part.count) },
        names: parts.map(\.name)))
  }

  /// Parts the images into those for training, for validation and for a test at the end.
  ///
  /// Of every class the same shares, drawn by `seed`; a class of one image is for training. Images with numbers are taken in
  /// order, the last ones for the test and those before for validation: they are frames as a rule, and neighbours resemble
  /// each other.
  ///
  /// - Parameters:
  ///   - validation: the share of the images that are for validation, above 0.
  ///   - test: the share for the test; 0 makes none.
  /// - Throws: `DataError` for shares that leave a part empty.
  public func split(
    validation: Double, test: Double = 0, seed: UInt64 = 0
  ) throws -> (training: ImageDataset, validation: ImageDataset, test: ImageDataset?) {
    guard validation > 0, test >= 0, validation + test < 1 else {
      throw DataError(
        .split,
        "Expected shares for validation (above 0) and test (0 or more) that leave some for training, received "
          + "\(validation) and \(test).")
    }
    // Indices in the order in which they are taken: test, validation, training.
    var groups: [[Int]]
    if case .classes(let classes, let names) = targets {
      groups = Array(repeating: [], count: names.count)
      for (index, number) in classes.enumerated() { groups[Int(number)].append(index) }
      let source = RandomSource(seed: seed)
      for number in groups.indices {
        var random = source.derive(stream: UInt64(number))
        let members = groups[number]
        groups[number] = random.permutation(count: members.count).map { members[$0] }
      }
    } else {
      groups = [(0..<count).reversed()]
    }
    var parts: [[Int]] = [[], [], []]
    for group in groups {
      var rest = group[...]
      for (part, share) in [test, validation].enumerated() {
        let wanted = share == 0 ? 0 : max(1, Int((share * Double(group.count)).rounded()))
        let taken = min(wanted, max(0, rest.count - 1))
        parts[part] += rest.prefix(taken)
        rest = rest.dropFirst(taken)
      }
      parts[2] += rest
    }
    guard !parts[1].isEmpty, test == 0 || !parts[0].isEmpty else {
      throw DataError(
        .split,
        "Expected more images in \(name) to part them by shares of \(validation) and \(test), received \(count).")
    }
    return (
      part(parts[2].sorted(), name: "\(name), training"), part(parts[1].sorted(), name: "\(name), validation"),
      test == 0 ? nil : part(parts[0].sorted(), name: "\(name), test")
    )
  }
}
