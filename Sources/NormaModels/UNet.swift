import NormaNN
import NormaNormalization
import NormaTensor

/// The VGG-style U-Net of the experiment: per level two 3×3 convolutions, 2×2 max-pooling down, nearest
/// upsampling with a 2×2 convolution up, and the levels' outputs concatenated on the way up.
///
/// Input [N, C, H, W] with H and W divisible by 2^depth → logits [N, outputs, H, W].
///
/// Ronneberger et al. 2015 for the shape; "same" convolutions, nearest upsampling and dropout after the
/// two deepest levels as in the Keras networks that grew out of it.
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
    /// Number of poolings.
    public var depth = 4
    public var normalization = Normalization.batch
    /// Probability of dropout after the two deepest levels.
    public var dropout = 0.5
    public var head = HeadStyle.seed
    /// The switchable network as it was logged in the seed experiment: a group normalization in front of the
    /// second bottom convolution's switchable one, and no normalization after the last up-convolution.
    public var asLogged = false

    public init() {}

    /// Height and width of the input are multiples of this.
    public var extentMultiple: Int { 1 << depth }

    /// How far from an output pixel the input lies that it depends on, in pixels along either axis; statistics that norms take
    /// of the input are no part of it.
    public var receptiveRadius: Int {
      /// What the given pixels of a level on the way down read of the input: two 3×3 convolutions, and the pooling before them.
      func encoder(_ level: Int, _ range: ClosedRange<Int>) -> ClosedRange<Int> {
        let input = range.lowerBound - 2...range.upperBound + 2
        return level == 0 ? input : encoder(level - 1, 2 * input.lowerBound...2 * input.upperBound + 1)
      }
      /// On the way up: the level's own convolutions over what the skip and the 2×2 convolution of the enlarged level below read.
      func decoder(_ level: Int, _ range: ClosedRange<Int>) -> ClosedRange<Int> {
        if level == depth { return encoder(level, range) }
        let joined = range.lowerBound - 2...range.upperBound + 2
        let skip = encoder(level, joined)
        let up = decoder(level + 1, joined.lowerBound >> 1...(joined.upperBound + 1) >> 1)
        return min(skip.lowerBound, up.lowerBound)...max(skip.upperBound, up.upperBound)
      }
      let margin = head == .seed ? 1 : 0
      // The poolings' windows lie on a lattice, so it matters where in a window a pixel is.
      return (0..<extentMultiple).map { pixel in
        let read = decoder(0, pixel - margin...pixel + margin)
        return max(pixel - read.lowerBound, read.upperBound - pixel)
      }.max()!
    }

    /// Checks the options without making the network.
    /// - Throws: ``NormalizationError`` for a group count that does not divide the channels of every level.
    public func validate() throws {
      for level in 0...depth { try normalization.check(channels: width << level) }
    }
  }

  public enum HeadStyle: String, Sendable, CaseIterable {
    /// Convolution 3×3 to two channels (or as many as classes), ReLU, convolution 1×1.
    case seed
    /// One convolution 1×1.
    case plain
  }

  public let options: Options

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  /// - Throws: ``NormalizationError`` for a group count that does not divide the channels.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    self.options = options
    let dropout = { try Dropout(probability: options.dropout, generator: dropoutGenerator ?? generator) }
    let widths = (0...options.depth).map { options.width << $0 }
    func block(
      _ input: Int, _ output: Int, kernel: Int = 3, norm: (any Layer)?, upsampling: Int = 1
    ) throws -> ConvNormActivation {
      ConvNormActivation(
        try Convolution(
          inputChannels: input, outputChannels: output, kernel: [kernel, kernel], padding: .same,
          generator: generator),
        norm: norm, upsampling: upsampling)
    }
    func norm(_ channels: Int) throws -> (any Layer)? { try options.normalization.layer(channels: channels) }
    encoder = try (0..<options.depth).map { level in
      UNetLevel(
        conv1: try block(
          level == 0 ? options.inputChannels : widths[level - 1], widths[level], norm: norm(widths[level])),
        conv2: try block(widths[level], widths[level], norm: norm(widths[level])),
        dropout: level == options.depth - 1 ? try dropout() : nil)
    }
    pool = MaxPool(kernel: [2, 2])
    let bottomWidth = widths[options.depth]
    let bottomNorms = [
      options.asLogged ? try Normalization.group(groups: nil).layer(channels: bottomWidth) : nil,
      try norm(bottomWidth),
    ].compactMap { $0 }
    bottom = UNetLevel(
      conv1: try block(widths[options.depth - 1], bottomWidth, norm: norm(bottomWidth)),
      conv2: try block(
        bottomWidth, bottomWidth, norm: bottomNorms.count > 1 ? Sequential(bottomNorms) : bottomNorms.first),
      dropout: try dropout())
    decoder = try (0..<options.depth).reversed().map { level in
      UNetUpLevel(
        up: try block(
          widths[level + 1], widths[level], kernel: 2,
          norm: options.asLogged && level == 0 ? nil : norm(widths[level]), upsampling: 2),
        level: UNetLevel(
          conv1: try block(2 * widths[level], widths[level], norm: norm(widths[level])),
          conv2: try block(widths[level], widths[level], norm: norm(widths[level]))))
    }
    head = try UNetHead(
      inputChannels: options.width, outputChannels: options.outputChannels, style: options.head,
      generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let shape = input.shape
    let step = options.extentMultiple
    guard shape.count == 4, shape[1] == options.inputChannels, shape[2] % step == 0, shape[3] % step == 0 else {
      throw NetworkError(
        "the U-Net expected [N, \(options.inputChannels), H, W] with H and W divisible by \(step), got \(shape)"
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
  public let dropout: Dropout?

  init(conv1: ConvNormActivation, conv2: ConvNormActivation, dropout: Dropout? = nil) {
    self.conv1 = conv1
    self.conv2 = conv2
    self.dropout = dropout
  }

  public func forward(_ input: Tensor) throws -> Tensor { try apply(input) }

  /// ``forward(_:)`` of an input that is given away: it need not live through the second convolution.
  func apply(_ input: consuming Tensor) throws -> Tensor {
    var x = input
    for block in [conv1, conv2] { x = try block(x) }
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

  /// - Parameter skip: given away, so that its memory can go before the convolutions.
  public func callAsFunction(_ input: Tensor, skip: consuming Tensor) throws -> Tensor {
    let joined = try Tensor.concatenateRecomputing([skip, up(input)], dimension: 1)
    return LayerObserver.isObserving ? try level(joined) : try level.apply(joined)
  }
}

/// The last convolutions, without normalization.
public final class UNetHead: Module, Layer {
  public let conv1: Convolution?
  /// Between the two.
  public let relu: ActivationLayer?
  public let conv2: Convolution

  init(inputChannels: Int, outputChannels: Int, style: UNet.HeadStyle, generator: Generator?) throws {
    let middle = max(2, outputChannels)
    conv1 =
      style == .plain
      ? nil
      : try Convolution(
        inputChannels: inputChannels, outputChannels: middle, kernel: [3, 3], padding: .same,
        generator: generator)
    relu = style == .plain ? nil : ActivationLayer(.relu)
    conv2 = try Convolution(
      inputChannels: style == .plain ? inputChannels : middle, outputChannels: outputChannels,
      kernel: [1, 1], generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    var x = input
    for case let layer? in [conv1, relu, conv2] as [(any Layer)?] { x = try layer(x) }
    return x
  }
}
