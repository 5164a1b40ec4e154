import ArgumentParser
import NormaModels
import NormaNormalization

/// The shape of the U-Net.
struct NetworkOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Channels of the first level; every level doubles them.", valueName: "channels"))
  var width = 64

  @Option(help: ArgumentHelp("Dropout after the two deepest levels.", valueName: "probability"))
  var dropout = 0.5

  @Option(
    help: ArgumentHelp(
      "The last convolutions: seed (3×3, ReLU, 1×1) or plain (1×1).", valueName: "style"))
  var head = UNet.HeadStyle.seed

  func validate() throws {
    guard (1...4096).contains(width) else {
      throw ValidationError("--width must be in 1…4096, got \(width).")
    }
    guard (0..<1).contains(dropout) else {
      throw ValidationError("--dropout must be at least 0 and below 1, got \(dropout).")
    }
  }

  /// Options that not all networks have, as far as they are given.
  var given: [String] { [] }

  func options(
    _ normalization: Normalization, inputChannels: Int = 1, classes: Int = 2, asLogged: Bool = false
  ) -> UNet.Options {
    var options = UNet.Options()
    options.inputChannels = inputChannels
    options.outputChannels = classes == 2 ? 1 : classes
    options.width = width
    options.normalization = normalization
    options.dropout = dropout
    options.head = head
    options.asLogged = asLogged
    return options
  }
}

extension UNet.HeadStyle: ExpressibleByArgument {}
