/// Which cells of the table of moments [N, C] are averaged together. A normalization is a partition, or
/// a mix of several.
public enum Partition: Sendable, Hashable {
  /// Every (sample, channel) alone.
  case instance
  /// All samples of one channel.
  case batch
  /// All samples of one channel in all processes that train together (`ProcessGroup.current`); ``batch`` where there is one.
  case synchronized
  /// Sub-batches of the given number of samples, the last one what is left, of one channel.
  case ghost(samples: Int)
  /// All channels of one sample.
  case layer
  /// The given number of groups of neighbouring channels, within one sample.
  case group(Int)

  /// The name in tables and on the command line, such as `group(8)`.
  public var name: String {
    switch self {
    case .instance: "instance"
    case .batch: "batch"
    case .synchronized: "synchronized"
    case .ghost(let samples): "ghost(\(samples))"
    case .layer: "layer"
    case .group(let groups): "group(\(groups))"
    }
  }

  /// The partition of a ``name``.
  public init?(name: String) {
    func number(_ word: String) -> Int? {
      guard name.hasPrefix(word + "("), name.hasSuffix(")") else { return nil }
      return Int(name.dropFirst(word.count + 1).dropLast()).flatMap { $0 > 0 ? $0 : nil }
    }
    switch name {
    case "instance": self = .instance
    case "batch": self = .batch
    case "synchronized": self = .synchronized
    case "layer": self = .layer
    default:
      if let groups = number("group") {
        self = .group(groups)
      } else if let samples = number("ghost") {
        self = .ghost(samples: samples)
      } else {
        return nil
      }
    }
  }

  /// How many neighbouring channels of one sample are averaged.
  func channelsPerPart(_ channels: Int) -> Int {
    switch self {
    case .instance, .batch, .synchronized, .ghost: 1
    case .layer: channels
    case .group(let groups): channels / groups
    }
  }

  /// Whether parts reach over several samples.
  var spansSamples: Bool {
    switch self {
    case .batch, .synchronized, .ghost: true
    case .instance, .layer, .group: false
    }
  }

  /// How many samples of this process the largest part reaches over.
  func samplesPerPart(_ samples: Int) -> Int {
    switch self {
    case .batch, .synchronized: samples
    case .ghost(let size): min(size, samples)
    case .instance, .layer, .group: 1
    }
  }

  /// How many values the statistics of the largest part are taken over.
  func valuesPerPart(_ shape: MomentShape) -> Int {
    samplesPerPart(shape.samples) * channelsPerPart(shape.channels) * shape.positions
  }

  /// Writes the average of every part into all its cells, for the parts inside the block; `source` and `target`
  /// may be the same. Of this process: ``Synchronization`` pools over several.
  ///
  /// Pooling is an orthogonal projection, so it is its own transpose; the backward pass uses it as such.
  func pool(_ source: UnsafePointer<Double>, into target: UnsafeMutablePointer<Double>, _ block: TableBlock) {
    let channels = block.shape.channels
    switch self {
    case .instance:
      if source != UnsafePointer(target) {
        for n in block.samples {
          for cell in block.cells(ofSample: n) { target[cell] = source[cell] }
        }
      }
    case .batch, .synchronized, .ghost:
      let size = samplesPerPart(block.samples.count)
      for start in stride(from: block.samples.lowerBound, to: block.samples.upperBound, by: size) {
        let samples = start..<min(start + size, block.samples.upperBound)
        let share = 1 / Double(samples.count)
        for c in block.channels {
          var sum = 0.0
          for n in samples { sum += source[n * channels + c] }
          for n in samples { target[n * channels + c] = sum * share }
        }
      }
    case .layer, .group:
      let size = channelsPerPart(channels)
      let share = 1 / Double(size)
      for n in block.samples {
        let row = block.cells(ofSample: n)
        for start in stride(from: row.lowerBound, to: row.upperBound, by: size) {
          var sum = 0.0
          for cell in start..<start + size { sum += source[cell] }
          sum *= share
          for cell in start..<start + size { target[cell] = sum }
        }
      }
    }
  }
}
