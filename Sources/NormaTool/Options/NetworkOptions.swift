import ArgumentParser
import NormaModels
import NormaNormalization

/// The shape of the network.
struct NetworkOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Channels of the first level or stage; deeper ones have more. (default: 64 for unet, 16 for alexnet, which is AlexNet with 64)",
      valueName: "channels"))
  var width: Int?

  @Option(help: ArgumentHelp("Number of the U-Net's poolings. (default: 4)", valueName: "poolings"))
  var depth: Int?

  @Option(
    help: ArgumentHelp(
      "How the way up doubles the extents: nearest (values repeated, then a 2×2 convolution) or transposed (a 2×2 transposed "
        + "convolution). (default: nearest)", valueName: "way"))
  var upsampling: UNet.Upsampling?

  @Option(
    help: ArgumentHelp(
      "Of the 3×3 convolutions: same (zeros beyond the border) or valid (none; the output is smaller than the input). "
        + "(default: same)", valueName: "way"))
  var padding: UNet.Padding?

  @Flag(inversion: .prefixedNo, help: "Add every level's input to what its two convolutions make of it.")
  var residual: Bool?

  @Option(help: ArgumentHelp("2 for images, 3 for volumes. (default: 2)", valueName: "number"))
  var dimensions: Int?

  @Option(
    help: ArgumentHelp(
      "Dropout, after the two deepest levels of a U-Net. (default: 0.5 for unet, 0.2 for alexnet, mean-spot and mnist-dense, 0 for "
        + "mnist-lstm)", valueName: "probability"))
  var dropout: Double?

  @Option(
    help: ArgumentHelp(
      "The last convolutions: seed (3×3, ReLU, 1×1) or plain (1×1). (default: seed)", valueName: "style"))
  var head: UNet.HeadStyle?

  @Option(
    help: ArgumentHelp(
      "Units of the hidden layers. (default: 256,128 for mnist-dense, 128 for mnist-lstm)", valueName: "list"),
    transform: { try GridList(parsing: $0, "a whole number in 1…65536", mayRepeat: true) { (1...65_536).contains($0) } }
  )
  var hidden: GridList<Int>?

  @Option(
    help: ArgumentHelp(
      "Where mean-spot has the attention module CBAM: \(MeanSpotter.Attention.allCases.map(\.rawValue).joined(separator: ", ")). "
        + "A list compares every norm with each. (default: none)", valueName: "list"),
    completion: .list(MeanSpotter.Attention.allCases.map(\.rawValue)), transform: AttentionList.init(parsing:))
  var attention: AttentionList?

  /// Those that are compared.
  var attentions: [MeanSpotter.Attention] { attention?.values ?? [.none] }

  /// For commands that make one network.
  func checkOneAttention() throws {
    guard attentions.count == 1 else {
      throw ValidationError("--attention takes one name here; norma compare takes a list.")
    }
  }

  func validate() throws {
    for (name, value, range) in [
      ("width", width, 1...4096), ("depth", depth, 1...8), ("dimensions", dimensions, 2...3),
    ] {
      guard let value else { continue }
      guard range.contains(value) else {
        throw ValidationError("--\(name) must be in \(range.lowerBound)…\(range.upperBound), got \(value).")
      }
    }
    if let dropout, !(0..<1).contains(dropout) {
      throw ValidationError("--dropout must be at least 0 and below 1, got \(dropout).")
    }
  }

  /// Options that not all networks have, as far as they are given.
  var given: [String] {
    [
      ("width", width != nil), ("depth", depth != nil), ("upsampling", upsampling != nil), ("padding", padding != nil),
      ("residual", residual != nil), ("dimensions", dimensions != nil), ("dropout", dropout != nil),
      ("head", head != nil), ("hidden", hidden != nil), ("attention", attention != nil),
    ].filter(\.1).map(\.0)
  }

  /// Those of a U-Net.
  func options(
    _ normalization: Normalization, inputChannels: Int = 1, classes: Int = 2, asLogged: Bool = false
  ) -> UNet.Options {
    var options = UNet.Options()
    options.inputChannels = inputChannels
    options.outputChannels = classes == 2 ? 1 : classes
    options.width = width ?? options.width
    options.depth = depth ?? options.depth
    options.upsampling = upsampling ?? options.upsampling
    options.padding = padding ?? options.padding
    options.isResidual = residual ?? options.isResidual
    options.dimensions = dimensions ?? options.dimensions
    options.normalization = normalization
    options.dropout = dropout ?? options.dropout
    options.head = head ?? options.head
    options.asLogged = asLogged
    return options
  }
}

/// Different places of an attention module, separated by commas.
struct AttentionList: Sendable {
  let values: [MeanSpotter.Attention]

  init(parsing text: String) throws {
    values = try commaSeparated(text).map {
      guard let value = MeanSpotter.Attention(rawValue: $0) else {
        throw ValidationError(
          "'\($0)' is no attention; choose from \(MeanSpotter.Attention.allCases.map(\.rawValue).joined(separator: ", "))"
        )
      }
      return value
    }
    guard Set(values).count == values.count else { throw ValidationError("'\(text)' has a name twice") }
  }
}

extension UNet.Options {
  /// The options by name as records keep them. What the first records did not know is there where it is not the default, so that runs
  /// from before go on.
  var recorded: [String: String] {
    var all = ["width": "\(width)", "dropout": "\(dropout)", "head": head.rawValue]
    let usual = UNet.Options()
    if depth != usual.depth { all["depth"] = "\(depth)" }
    if upsampling != usual.upsampling { all["upsampling"] = upsampling.rawValue }
    if padding != usual.padding { all["padding"] = padding.rawValue }
    if isResidual { all["residual"] = "true" }
    if dimensions != usual.dimensions { all["dimensions"] = "\(dimensions)" }
    return all
  }
}

extension UNet.HeadStyle: ExpressibleByArgument {}
extension UNet.Upsampling: ExpressibleByArgument {}
extension UNet.Padding: ExpressibleByArgument {}
