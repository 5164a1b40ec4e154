import ArgumentParser
import NormaModels
import NormaNormalization

/// The shape of the U-Net.
struct NetworkOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Channels of the first level; every level doubles them.", valueName: "channels"))
  var width = 64

  @Option(help: ArgumentHelp("Number of poolings.", valueName: "poolings"))
  var depth = 4

  @Option(
    help: ArgumentHelp(
      "How the way up doubles the extents: nearest (values repeated, then a 2×2 convolution) or transposed (a 2×2 transposed "
        + "convolution).", valueName: "way"))
  var upsampling = UNet.Upsampling.nearest

  @Option(
    help: ArgumentHelp(
      "Of the 3×3 convolutions: same (zeros beyond the border) or valid (none; the output is smaller than the input).",
      valueName: "way"))
  var padding = UNet.Padding.same

  @Flag(inversion: .prefixedNo, help: "Add every level's input to what its two convolutions make of it.")
  var residual = false

  @Option(help: ArgumentHelp("2 for images, 3 for volumes.", valueName: "number"))
  var dimensions = 2

  @Option(help: ArgumentHelp("Dropout after the two deepest levels.", valueName: "probability"))
  var dropout = 0.5

  @Option(
    help: ArgumentHelp(
      "The last convolutions: seed (3×3, ReLU, 1×1) or plain (1×1).", valueName: "style"))
  var head = UNet.HeadStyle.seed

  func validate() throws {
    for (name, value, range) in [
      ("width", width, 1...4096), ("depth", depth, 1...8), ("dimensions", dimensions, 2...3),
    ] {
      guard range.contains(value) else {
        throw ValidationError("--\(name) must be in \(range.lowerBound)…\(range.upperBound), got \(value).")
      }
    }
    guard (0..<1).contains(dropout) else {
      throw ValidationError("--dropout must be at least 0 and below 1, got \(dropout).")
    }
  }

  func options(
    _ normalization: Normalization, inputChannels: Int = 1, classes: Int = 2, asLogged: Bool = false
  ) -> UNet.Options {
    var options = UNet.Options()
    options.inputChannels = inputChannels
    options.outputChannels = classes == 2 ? 1 : classes
    options.width = width
    options.depth = depth
    options.upsampling = upsampling
    options.padding = padding
    options.isResidual = residual
    options.dimensions = dimensions
    options.normalization = normalization
    options.dropout = dropout
    options.head = head
    options.asLogged = asLogged
    return options
  }
}

extension NetworkOptions {
  /// The options by name as records keep them. What the first records did not know is there where it is not the default, so that runs
  /// from before go on.
  var recorded: [String: String] {
    var all = ["width": "\(width)", "dropout": "\(dropout)", "head": head.rawValue]
    let usual = UNet.Options()
    if depth != usual.depth { all["depth"] = "\(depth)" }
    if upsampling != usual.upsampling { all["upsampling"] = upsampling.rawValue }
    if padding != usual.padding { all["padding"] = padding.rawValue }
    if residual { all["residual"] = "true" }
    if dimensions != usual.dimensions { all["dimensions"] = "\(dimensions)" }
    return all
  }
}

extension UNet.HeadStyle: ExpressibleByArgument {}
extension UNet.Upsampling: ExpressibleByArgument {}
extension UNet.Padding: ExpressibleByArgument {}
