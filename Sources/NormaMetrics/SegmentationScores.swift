/// A score of a proposal at a threshold; all lie in 0…1.
public enum SegmentationScore: String, Sendable, CaseIterable {
  /// The foreground-restricted Rand score after border thinning, V_Rand.
  case rand
  /// The foreground-restricted information score after border thinning, V_Info.
  case info
  /// 1 − V_Rand without thinning.
  case randError
  /// Mismatches that no warping removes: splits, merges, holes and lost objects (see `Warping`). A cell shrinks to one
  /// pixel where the proposal has none, so its best threshold may be one that leaves no foreground.
  case warpingError
  /// 1 − accuracy.
  case pixelError
  /// Share of pixels on the right side of the threshold.
  case accuracy
  /// Dice coefficient (F1) of the foreground.
  case dice
  /// Intersection over union of the foreground.
  case intersectionOverUnion

  /// Whether 0 is the best and not 1.
  public var isError: Bool { self == .randError || self == .warpingError || self == .pixelError }
}

/// How well probabilities of the foreground (cells) segment slices whose truth is known, at several thresholds.
///
/// These are the scores of the ISBI 2012 challenge and those of single pixels. At threshold t, a slice's proposal has
/// its foreground where p > t; regions of the truth and segments of the proposal are 4-connected components of the
/// foreground; membrane pixels of the truth do not count in `rand`, `info` and `randError`. Slices are taken one by
/// one, in 2-d. The challenge's figure is the best one over a threshold that is the same for all slices: `best`.
///
/// Sources: see `RegionOverlap`, `Segmentation.thinBorders` and `Warping`.
public struct SegmentationScores: Sendable, Equatable {
  /// 0, 0.1, …, 1, as in the challenge.
  public static let defaultThresholds = (0...10).map { Float($0) / 10 }

  /// One slice at one threshold.
  public struct Entry: Sendable, Equatable {
    /// Class 1 is the foreground.
    public let confusion: ConfusionMatrix
    /// The truth's regions and the proposal's segments, before and after border thinning.
    public let overlap: RegionOverlap
    public let thinnedOverlap: RegionOverlap
    /// Mismatches that warping leaves.
    public let warpingMismatches: Int

    /// NaN for those of single pixels where no pixel counts.
    public subscript(score: SegmentationScore) -> Double {
      switch score {
      case .rand: thinnedOverlap.rand
      case .info: thinnedOverlap.info
      case .randError: 1 - overlap.rand
      case .warpingError: confusion.total == 0 ? 0 : Double(warpingMismatches) / Double(confusion.total)
      case .pixelError, .accuracy, .dice, .intersectionOverUnion: score.value(of: confusion)
      }
    }
  }

  /// The best value of a score and the threshold that gives it.
  public struct Best: Sendable, Equatable {
    public let value: Double
    public let threshold: Float
    /// Its index in `thresholds`.
    public let index: Int
  }

  public let thresholds: [Float]
  /// entries[slice][threshold].
  public private(set) var entries: [[Entry]] = []

  /// - Parameter thresholds: at least one; a pixel is foreground where its probability is larger.
  public init(thresholds: [Float] = defaultThresholds) {
    precondition(!thresholds.isEmpty, "segmentation scores need at least one threshold")
    self.thresholds = thresholds
  }

  /// Scores a stack of slices.
  ///
  /// - Parameters:
  ///   - truth: [slices, height, width], 1 for foreground and 0 for background.
  ///   - probabilities: of the foreground, [slices, height, width], in 0...1.
  ///   - ignored: true for pixels that do not count, [slices, height, width]. Their truth still says how regions
  ///     hang together.
  public init(
    truth: [UInt8], probabilities: [Float], slices: Int, height: Int, width: Int, ignored: [Bool]? = nil,
    thresholds: [Float] = defaultThresholds
  ) {
    self.init(thresholds: thresholds)
    precondition(slices > 0, "the number of slices must be positive, got \(slices)")
    let count = height * width
    for (name, size) in [
      ("truth", truth.count), ("probabilities", probabilities.count),
      ("the ignore mask", ignored?.count ?? truth.count),
    ] {
      precondition(
        size == slices * count, "\(name) must have \(slices) × \(height) × \(width) values, got \(size)")
    }
    for slice in 0..<slices {
      let range = slice * count..<(slice + 1) * count
      add(
        truth: Array(truth[range]), probabilities: Array(probabilities[range]), height: height, width: width,
        ignored: ignored.map { Array($0[range]) })
    }
  }

  /// Scores one more slice; the arrays are [height, width] by rows, otherwise as in `init`.
  public mutating func add(
    truth: [UInt8], probabilities: [Float], height: Int, width: Int, ignored: [Bool]? = nil
  ) {
    entries.append(
      Self.entries(
        truth: truth, probabilities: probabilities, height: height, width: width, ignored: ignored,
        thresholds: thresholds))
  }

  /// The score at every threshold. Scores of regions, and the warping error, are means over slices; those of single
  /// pixels are taken over the pixels of all slices. NaN without slices, or where no pixel counts.
  public func curve(_ score: SegmentationScore) -> [Double] {
    thresholds.indices.map { index in
      guard score.isOfPixels else { return mean(at: index) { $0[score] } }
      var all = ConfusionMatrix(classes: 2)
      for slice in entries { all.add(slice[index].confusion) }
      return score.value(of: all)
    }
  }

  /// The best value of a score over the thresholds, for all slices the same; of equally good thresholds the one
  /// nearest to 0.5.
  public func best(_ score: SegmentationScore) -> Best {
    let values = curve(score)
    func isBetter(_ index: Int, than other: Int) -> Bool {
      if values[index] == values[other] { return abs(thresholds[index] - 0.5) < abs(thresholds[other] - 0.5) }
      return score.isError ? values[index] < values[other] : values[index] > values[other]
    }
    let index = thresholds.indices.reduce(0) { isBetter($1, than: $0) ? $1 : $0 }
    return Best(value: values[index], threshold: thresholds[index], index: index)
  }

  /// The mean over slices of any value at a threshold, as of a split or merge part; NaN without slices.
  public func mean(at threshold: Int, of value: (Entry) -> Double) -> Double {
    entries.reduce(0) { $0 + value($1[threshold]) } / Double(entries.count)
  }

  private static func entries(
    truth: [UInt8], probabilities: [Float], height: Int, width: Int, ignored: [Bool]?, thresholds: [Float]
  ) -> [Entry] {
    checkSize(truth.count, "truth", height: height, width: width)
    checkSize(probabilities.count, "probabilities", height: height, width: width)
    if let ignored { checkSize(ignored.count, "the ignore mask", height: height, width: width) }
    precondition(truth.allSatisfy { $0 <= 1 }, "truth must hold 0 and 1 only")
    precondition(probabilities.allSatisfy { $0 >= 0 && $0 <= 1 }, "probabilities must lie in 0...1")
    let foreground = truth.map { $0 == 1 }
    let regions = Segmentation(components: foreground, height: height, width: width)
    let order = RegionOrder(regions, ignored: ignored)
    // An ignored pixel has a class that the confusion matrix does not know.
    let counted = ignored.map { ignored in zip(truth, ignored).map { $1 ? UInt8.max : $0 } } ?? truth
    return thresholds.map { threshold in
      var confusion = ConfusionMatrix(classes: 2)
      confusion.add(truth: counted, prediction: probabilities.map { $0 > threshold ? 1 : 0 })
      var segments = Segmentation(height: height, width: width) { probabilities[$0] > threshold }
      segments.uniteUniform()
      let overlap = RegionOverlap(order, segments: segments.framed, count: segments.count)
      segments.thinBorders()
      return Entry(
        confusion: confusion, overlap: overlap,
        thinnedOverlap: RegionOverlap(order, segments: segments.framed, count: segments.count),
        warpingMismatches: Warping.mismatches(
          truth: foreground, probabilities: probabilities, threshold: threshold, height: height, width: width,
          ignored: ignored
        ).count)
    }
  }
}

extension SegmentationScore {
  /// Whether it counts single pixels, of all slices together.
  fileprivate var isOfPixels: Bool {
    switch self {
    case .rand, .info, .randError, .warpingError: false
    case .pixelError, .accuracy, .dice, .intersectionOverUnion: true
    }
  }

  /// The value of a score of single pixels.
  fileprivate func value(of confusion: ConfusionMatrix) -> Double {
    switch self {
    case .accuracy: confusion.accuracy
    case .dice: confusion.dice(1)
    case .intersectionOverUnion: confusion.intersectionOverUnion(1)
    default: 1 - confusion.accuracy
    }
  }
}

extension RegionOrder {
  /// The pixels of the truth's regions that are not ignored, by their places in a `Segmentation` of the same size.
  fileprivate init(_ regions: Segmentation, ignored: [Bool]?) {
    let (height, width) = (regions.height, regions.width)
    var labels = regions.framed
    if let ignored {
      for pixel in ignored.indices where ignored[pixel] {
        labels[Segmentation.framedIndex(pixel, width: width)] = 0
      }
    }
    // The frame's marks are below 0.
    self.init(pixels: width + 2..<(height + 1) * (width + 2), count: regions.count) { labels[$0] }
  }
}
