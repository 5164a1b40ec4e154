/// libtorch's operators that Norma calls, each found once. Every file beside this one adds its own.
enum Op {}
