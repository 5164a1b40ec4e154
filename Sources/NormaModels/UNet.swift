import NormaNN
import NormaNormalization
import NormaTensor

/// The VGG-style U-Net of the experiment: per level two 3×3 convolutions, 2×2 max-pooling down, nearest
/// upsampling with a 2×2 convolution up, and the levels' outputs concatenated on the way up.
///
/// Input [N, C, H, W] with H and W divisible by 2^depth → logits [N, outputs, H, W]. In three dimensions all windows have a
/// third extent like the others: [N, C, D, H, W] → [N, outputs, D, H, W]. Without padding the output is smaller by
/// ``Options/margin`` at every side.
///
/// Ronneberger et al. 2015 for the shape; "same" convolutions, nearest upsampling and dropout after the
/// two deepest levels as in the Keras networks that grew out of it. ``Options`` go back to the paper's transposed convolutions and
/// convolutions without padding, on to volumes (Çiçek et al. 2016) and to residual blocks (He et al. 2016).
public final class UNet: Module, Layer {
  public let encoder: [UNetLevel]
  public let pool: MaxPool
  public let bottom: UNetLevel
  public let decoder: [UNetUpLevel]
  public let head: UNetHead

  public struct Options: Sendable {
    public var inputChannels = 1
    /// 1 for two classes (one sigmoid output), else the number of classes.
    public var outputChannels = 1
    /// Channels of the first level; every level doubles them.
    public var width = 64
    /// Number of poolings, 1…8.
    public var depth = 4
    public var upsampling = Upsampling.nearest
    public var padding = Padding.same
    /// Whether a level's two convolutions are added to its input, before the second ReLU; the input goes through a 1×1 convolution and
    /// a norm where the channels change.
    public var isResidual = false
    /// Of the images: 2, or 3 for volumes.
    public var dimensions = 2
    public var normalization = Normalization.batch
    /// Probability of dropout after the two deepest levels.
    public var dropout = 0.5
    public var head = HeadStyle.seed
    /// The switchable network as it was logged in the seed experiment: a group normalization in front of the
    /// second bottom convolution's switchable one, and no normalization after the last up-convolution.
    public var asLogged = false

    public init() {}

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for numbers and combinations that are no network; `NormalizationError` for a normalization that
    ///   does not fit the channels of every level, or that is its own activation where residual blocks add before it.
    public func validate() throws {
      for (name, value, range) in [
        ("depth", depth, 1...8), ("dimensions", dimensions, 2...3), ("width", width, 1...4096),
        ("input channels", inputChannels, 1...4096), ("output channels", outputChannels, 1...64),
      ] where !range.contains(value) {
        throw NetworkError(
          "the U-Net's \(name) should be in \(range.lowerBound)…\(range.upperBound), got \(value)")
      }
      if asLogged, upsampling != .nearest || padding != .same || isResidual || dimensions != 2 {
        throw NetworkError(
          "the U-Net as it was logged has nearest upsampling, same padding, no residual blocks and 2 dimensions; leave out "
            + "what differs, or do not ask for the logged one")
      }
      for level in 0...depth {
        try normalization.check(channels: width << level)
        if isResidual { _ = try normalization.linearLayer(channels: width << level) }
      }
    }
  }

  public enum HeadStyle: String, Sendable, CaseIterable {
    /// Convolution 3×3 to two channels (or as many as classes), ReLU, convolution 1×1.
    case seed
    /// One convolution 1×1.
    case plain
  }

  /// How the way up doubles the extents.
  public enum Upsampling: String, Sendable, CaseIterable {
    /// Every value is repeated, then a 2×2 convolution that keeps the extent, with zeros after the end.
    case nearest
    /// A 2×2 transposed convolution of stride 2.
    case transposed
  }

  /// What the 3×3 convolutions see beyond the border.
  public enum Padding: String, Sendable, CaseIterable {
    /// Zeros: the output is as large as the input.
    case same
    /// Nothing: every convolution takes a pixel off every side, and skips are cropped to their middle.
    case valid
  }

  public let options: Options

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  /// - Throws: what ``Options/validate()`` throws.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    let dropout = { try Dropout(probability: options.dropout, generator: dropoutGenerator ?? generator) }
    let widths = (0...options.depth).map { options.width << $0 }
    func norm(_ channels: Int) throws -> (any Layer)? { try options.normalization.layer(channels: channels) }
    func block(
      _ input: Int, _ output: Int, kernel: Int = 3, norm: (any Layer)?, activation: Activation = .relu,
      upsampling: Int = 1
    ) throws -> ConvNormActivation {
      ConvNormActivation(
        try Convolution(
          inputChannels: input, outputChannels: output, kernel: options.window(kernel),
          padding: options.padding(kernel: kernel), generator: generator),
        norm: norm, activation: activation, upsampling: upsampling)
    }
    /// - Parameter first: a norm in front of the second convolution's.
    func level(
      _ input: Int, _ output: Int, first: (any Layer)? = nil, dropout: Dropout? = nil
    ) throws -> UNetLevel {
      let isResidual = options.isResidual
      // What is added to the input has no activation of its own.
      func last() throws -> (any Layer)? {
        isResidual ? try options.normalization.linearLayer(channels: output) : try norm(output)
      }
      let activation = isResidual ? Activation.none : .relu
      let norms = [first, try last()].compactMap { $0 }
      return UNetLevel(
        conv1: try block(input, output, norm: norm(output)),
        conv2: try block(
          output, output, norm: norms.count > 1 ? Sequential(norms) : norms.first, activation: activation),
        shortcut: isResidual && input != output
          ? try block(input, output, kernel: 1, norm: last(), activation: .none) : nil,
        relu: isResidual ? ActivationLayer(.relu) : nil, dropout: dropout)
    }
    func up(to level: Int) throws -> ConvNormActivation {
      let (input, output) = (widths[level + 1], widths[level])
      let norm = options.asLogged && level == 0 ? nil : try norm(output)
      switch options.upsampling {
      case .nearest: return try block(input, output, kernel: 2, norm: norm, upsampling: 2)
      case .transposed:
        return ConvNormActivation(
          try TransposedConvolution(
            inputChannels: input, outputChannels: output, kernel: options.window(2), generator: generator),
          norm: norm)
      }
    }
    encoder = try (0..<options.depth).map {
      try level(
        $0 == 0 ? options.inputChannels : widths[$0 - 1], widths[$0],
        dropout: $0 == options.depth - 1 ? dropout() : nil)
    }
    pool = MaxPool(kernel: options.window(2))
    let bottomWidth = widths[options.depth]
    bottom = try level(
      widths[options.depth - 1], bottomWidth,
      first: options.asLogged ? Normalization.group(groups: nil).layer(channels: bottomWidth) : nil,
      dropout: dropout())
    decoder = try (0..<options.depth).reversed().map {
      UNetUpLevel(up: try up(to: $0), level: try level(2 * widths[$0], widths[$0]))
    }
    head = try UNetHead(options, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let shape = input.shape
    guard shape.count == options.dimensions + 2, shape[1] == options.inputChannels,
      shape.dropFirst(2).allSatisfy({ options.outputExtent(of: $0) != nil })
    else {
      let axes = options.dimensions == 3 ? "D, H, W" : "H, W"
      throw NetworkError(
        "the U-Net expected [N, \(options.inputChannels), \(axes)] with \(axes) \(options.extentsInWords), got \(shape)"
      )
    }
    var x = input
    var skips: [Tensor] = []
    for level in encoder {
      let output = try level(x)
      skips.append(output)
      x = try pool(output)
    }
    x = try bottom(x)
    for level in decoder { x = try level(x, skip: skips.removeLast()) }
    return try head(x)
  }
}

/// Two convolutions of one level, with dropout after the second where the level has it.
public final class UNetLevel: Module, Layer {
  public let conv1: ConvNormActivation
  public let conv2: ConvNormActivation
  /// Of a residual block: a 1×1 convolution and a norm where the channels change.
  public let shortcut: ConvNormActivation?
  /// Of a residual block: after the sum.
  public let relu: ActivationLayer?
  public let dropout: Dropout?

  init(
    conv1: ConvNormActivation, conv2: ConvNormActivation, shortcut: ConvNormActivation?, relu: ActivationLayer?,
    dropout: Dropout?
  ) {
    self.conv1 = conv1
    self.conv2 = conv2
    self.shortcut = shortcut
    self.relu = relu
    self.dropout = dropout
  }

  public func forward(_ input: Tensor) throws -> Tensor { try apply(input) }

  /// ``forward(_:)`` of an input that is given away: it need not live through the second convolution.
  func apply(_ input: consuming Tensor) throws -> Tensor {
    var x = input
    if let relu {
      let output = try conv2(conv1(x))
      x = try x.centered(like: output)
      x = try relu(output + (shortcut.map { try $0(x) } ?? x))
    } else {
      for block in [conv1, conv2] { x = try block(x) }
    }
    return try dropout.map { try $0(x) } ?? x
  }
}

/// One level on the way up: upsampling and convolution, concatenation [skip, up], two convolutions.
public final class UNetUpLevel: Module {
  public let up: ConvNormActivation
  public let level: UNetLevel

  init(up: ConvNormActivation, level: UNetLevel) {
    self.up = up
    self.level = level
  }

  /// - Parameter skip: given away, so that its memory can go before the convolutions. Its middle is taken where it is larger.
  public func callAsFunction(_ input: Tensor, skip: consuming Tensor) throws -> Tensor {
    let joined = try join(input, consume skip)
    return LayerObserver.isObserving ? try level(joined) : try level.apply(joined)
  }

  /// In a function of its own, so that both parts go with it.
  private func join(_ input: Tensor, _ skip: consuming Tensor) throws -> Tensor {
    let enlarged = try up(input)
    return try Tensor.concatenateRecomputing([skip.centered(like: enlarged), enlarged], dimension: 1)
  }
}

/// The last convolutions, without normalization.
public final class UNetHead: Module, Layer {
  public let conv1: Convolution?
  /// Between the two.
  public let relu: ActivationLayer?
  public let conv2: Convolution

  init(_ options: UNet.Options, generator: Generator?) throws {
    let isPlain = options.head == .plain
    let middle = max(2, options.outputChannels)
    conv1 =
      isPlain
      ? nil
      : try Convolution(
        inputChannels: options.width, outputChannels: middle, kernel: options.window(3),
        padding: options.padding(kernel: 3), generator: generator)
    relu = isPlain ? nil : ActivationLayer(.relu)
    conv2 = try Convolution(
      inputChannels: isPlain ? options.width : middle, outputChannels: options.outputChannels,
      kernel: options.window(1), generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    var x = input
    for case let layer? in [conv1, relu, conv2] as [(any Layer)?] { x = try layer(x) }
    return x
  }
}

extension UNet.Options {
  fileprivate func window(_ extent: Int) -> [Int] { Array(repeating: extent, count: dimensions) }

  /// 2×2 convolutions keep the extent whatever the padding of the others: what they enlarge has to fit the skips.
  fileprivate func padding(kernel: Int) -> NormaNN.Padding { padding == .valid && kernel == 3 ? .valid : .same }
}

extension Tensor {
  /// The middle of every spatial dimension, as large as another tensor.
  fileprivate func centered(like other: Tensor) throws -> Tensor {
    let (from, to) = (shape.dropFirst(2), other.shape.dropFirst(2))
    if from == to { return self }
    let ranges = zip(from, to).map { ($0 - $1) / 2..<($0 - $1) / 2 + $1 }
    func crop(_ tensor: Tensor) throws -> Tensor {
      try ranges.enumerated().reduce(tensor) { try $0.sliced($1.element, dimension: $1.offset + 2) }
    }
    let middle = try crop(self)
    if let recipe { middle.attach(recipe.then(crop)) }
    return middle
  }
}
