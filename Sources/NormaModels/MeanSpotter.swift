import NormaNN
import NormaNormalization
import NormaTensor

/// The shallow three-stream network that spots micro-expressions in optical flow: horizontal and vertical flow and optical strain,
/// each 42×42, to one number that is high where a frame belongs to an expression.
///
/// Input [N, 3, 42, 42], one channel per stream → [N, 1], without activation.
///
/// Every stream: convolution 5×5 (3, 3 and 8 filters), ReLU, norm, max-pooling 3×3, attention where asked for, dropout: 14×14.
/// The 14 channels are concatenated (and attended to), convolved 5×5 to 8 channels, ReLU, max-pooled 2×2, flattened, dropped
/// out and weighted. All convolutions are padded by zeros to keep their extents. The merged convolution has no norm: with
/// batch normalization the published totals, 3,621 parameters of which 3,593 are trained, leave 2 · 14 trained numbers for norms,
/// those of the streams' 3 + 3 + 8 channels.
///
/// Its ``penalty()`` is for the trainer to add to the loss.
///
/// Keys: `streams.0.conv.weight`, `streams.0.norm.weight`, `streams.0.attention.channel.hidden.weight`, …, `attention.…`,
/// `conv.weight`, `output.weight`.
public final class MeanSpotter: Module, Layer, PenalizedModule {
  /// Where the convolutional block attention module (``CBAM``) stands.
  public enum Attention: String, Sendable, CaseIterable {
    case none
    /// After every stream and after the merge.
    case cbam
    /// After every stream alone.
    case streams = "cbam-streams"
    /// After the merge alone: of all 14 channels, before the convolution that mixes them.
    case merge = "cbam-merge"
  }

  public struct Options: Sendable {
    /// After the ReLU of every stream's convolution.
    public var normalization = Normalization.batch
    public var attention = Attention.none
    /// Channels per hidden unit of the channel attention; there is at least one unit.
    public var reduction = 8
    /// Probability of dropout at the end of every stream.
    public var streamDropout = 0.3
    /// Probability of dropout before the output.
    public var dropout = 0.2
    /// Times the sum of squares of the streams' convolution weights in the penalty.
    public var streamPenalty = 0.001
    /// Times the sum of squares of the merged convolution's weights in the penalty.
    public var mergePenalty = 0.1

    public init() {}

    static let filters = [3, 3, 8]

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for an option that cannot be; ``NormalizationError`` for a norm that does not fit the channels.
    public func validate() throws {
      guard reduction > 0, [streamDropout, dropout].allSatisfy((0..<1).contains),
        [streamPenalty, mergePenalty].allSatisfy({ $0 >= 0 && $0.isFinite })
      else {
        throw NetworkError(
          "the spotter needs a reduction of at least 1, dropouts in 0..<1 and penalties of at least 0; got \(reduction), "
            + "\(streamDropout) and \(dropout), \(streamPenalty) and \(mergePenalty)")
      }
      for count in Self.filters { _ = try normalization.linearLayer(channels: count) }
    }
  }

  /// Rows and columns of every stream.
  public static let side = 42

  public let options: Options
  public let streams: [MeanSpotterStream]
  public let attention: CBAM?
  public let conv: Convolution
  public let pool: MaxPool
  public let dropout: Dropout
  public let output: Linear

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  /// - Throws: as ``Options/validate()``.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    func attention(_ channels: Int, _ place: Attention) throws -> CBAM? {
      guard options.attention == .cbam || options.attention == place else { return nil }
      return try CBAM(channels: channels, reduction: options.reduction, generator: generator)
    }
    func dropout(_ probability: Double) throws -> Dropout {
      try Dropout(probability: probability, generator: dropoutGenerator ?? generator)
    }
    func convolution(_ inputs: Int, _ outputs: Int) throws -> Convolution {
      try Convolution(
        inputChannels: inputs, outputChannels: outputs, kernel: [5, 5], padding: .same, generator: generator)
    }
    let filters = Options.filters
    let merged = filters.reduce(0, +)
    let convolutions = try filters.map { try convolution(1, $0) }
    conv = try convolution(merged, 8)
    // Small, so that the first outputs are near 0 and not many times as large as scores.
    output = try Linear(
      inputs: 8 * 7 * 7, outputs: 1, initializer: .normal(standardDeviation: 0.01), generator: generator)
    // Last, so that the other weights are the same with and without attention.
    streams = try zip(convolutions, filters).map { conv, filters in
      MeanSpotterStream(
        conv: conv, norm: try options.normalization.linearLayer(channels: filters),
        attention: try attention(filters, .streams), dropout: try dropout(options.streamDropout))
    }
    self.attention = try attention(merged, .merge)
    pool = MaxPool(kernel: [2, 2])
    self.dropout = try dropout(options.dropout)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    guard input.rank == 4, Array(input.shape.dropFirst()) == [3, Self.side, Self.side] else {
      throw NetworkError(
        "the spotter expected [N, 3, 42, 42] with the flow's u and v and the strain as channels, got \(input.shape)")
    }
    var x = try Tensor.concatenate(
      streams.enumerated().map { try $1(input.sliced($0..<$0 + 1, dimension: 1)) }, dimension: 1)
    if let attention { x = try attention(x) }
    x = try pool(conv(x, norm: nil, activation: .relu)).flattened(from: 1)
    return try output(dropout(x))
  }

  /// 0.001 Σw² over the streams' convolution weights and 0.1 Σw² over the merged convolution's, with the options' factors.
  public func penalty() throws -> Tensor {
    let streams = try streams.map { try $0.conv.weight.sumOfSquares() * options.streamPenalty }
    return try streams.reduce(conv.weight.sumOfSquares() * options.mergePenalty) { try $0 + $1 }
  }
}

/// One stream of ``MeanSpotter``: [N, 1, H, W] → [N, filters, H / 3, W / 3].
public final class MeanSpotterStream: Module, Layer, LayerContainer {
  public let conv: Convolution
  public private(set) var norm: (any Layer)?
  public let pool = MaxPool(kernel: [3, 3])
  public let attention: CBAM?
  public let dropout: Dropout

  init(conv: Convolution, norm: (any Layer)?, attention: CBAM?, dropout: Dropout) {
    self.conv = conv
    self.norm = norm
    self.attention = attention
    self.dropout = dropout
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    var x = try conv(input, norm: nil, activation: .relu)
    if let norm { x = try norm(x) }
    x = try pool(x)
    if let attention { x = try attention(x) }
    return try dropout(x)
  }

  public var layersWithoutActivation: [any Layer] { [norm].compactMap { $0 } }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows { norm = try norm.map(body) }
}

extension MeanSpotter.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "mean-spot", "norm": normalization.name, "attention": attention.rawValue,
      "reduction": "\(reduction)", "stream_dropout": "\(streamDropout)", "dropout": "\(dropout)",
      "stream_penalty": "\(streamPenalty)", "merge_penalty": "\(mergePenalty)",
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "mean-spot")
    func probability(_ key: String, _ fallback: Double) throws -> Double {
      try values.value(key, "at least 0 and below 1", fallback) { (0..<1).contains($0) }
    }
    func factor(_ key: String, _ fallback: Double) throws -> Double {
      try values.value(key, "a finite number of at least 0", fallback) { $0 >= 0 && $0.isFinite }
    }
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
    attention = try values.choice("attention", attention)
    reduction = try values.count("reduction", in: 1...4096, reduction)
    streamDropout = try probability("stream_dropout", streamDropout)
    dropout = try probability("dropout", dropout)
    streamPenalty = try factor("stream_penalty", streamPenalty)
    mergePenalty = try factor("merge_penalty", mergePenalty)
  }
}
